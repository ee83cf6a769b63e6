// What the official Anchor client makes of the program and the chain; one JSON object a line.
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import anchor from "@coral-xyz/anchor";
import { Connection, Keypair, PublicKey } from "@solana/web3.js";

const { AnchorProvider, BN, EventParser, Program, Wallet } = anchor;
const [url, wsEndpoint, idlPath, keyPath, market, mint] = process.argv.slice(2);
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const tell = (step, seen) => console.log(JSON.stringify({ step, ...seen }));

const key = Keypair.fromSecretKey(Uint8Array.from(JSON.parse(readFileSync(keyPath, "utf8"))));
const connection = new Connection(url, { commitment: "confirmed", wsEndpoint });
const provider = new AnchorProvider(connection, new Wallet(key), { commitment: "confirmed" });
const program = new Program(JSON.parse(readFileSync(idlPath, "utf8")), provider);
const token = PublicKey.findProgramAddressSync(
  [
    key.publicKey.toBuffer(),
    new PublicKey("TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA").toBuffer(),
    new PublicKey(mint).toBuffer(),
  ],
  new PublicKey("ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL"),
)[0];

const found = await program.account.market.fetch(market);
const [fundAddress] = PublicKey.findProgramAddressSync([Buffer.from("insurance_fund")], program.programId);
const fund = await program.account.insuranceFund.fetch(fundAddress);
tell("accounts", {
  symbol: Buffer.from(found.symbol).toString().replaceAll("\0", ""),
  priceAccount: found.priceAccount.toBase58(),
  feeBps: found.liquidationFeeBps,
  balance: fund.balance.toString(),
});

const id = new BN(7);
await program.methods
  .openPosition(id, new BN(1_000_000_000), new BN(16_000_000), 10)
  .accounts({ owner: key.publicKey, market, ownerToken: token })
  .rpc();
const [position] = PublicKey.findProgramAddressSync(
  [
    Buffer.from("position"),
    key.publicKey.toBuffer(),
    new PublicKey(market).toBuffer(),
    id.toArrayLike(Buffer, "le", 8),
  ],
  program.programId,
);
const opened = await program.account.position.fetch(position);
tell("opened", {
  size: opened.size.toString(),
  entryPrice: opened.entryPrice.toString(),
  collateral: opened.collateral.toString(),
  leverage: opened.leverage,
});

const liquidate = () =>
  program.methods
    .liquidate(new BN("18446744073709551615"))
    .accounts({ liquidator: key.publicKey, liquidatorToken: token, position, ownerToken: token })
    .rpc();
try {
  await liquidate();
  tell("refused", { name: null });
} catch (error) {
  tell("refused", {
    name: error.error?.errorCode?.code ?? null,
    number: error.error?.errorCode?.number ?? error.code ?? null,
    message: error.error?.errorMessage ?? error.msg ?? null,
  });
}

let heard;
const event = new Promise((resolve) => { heard = resolve; });
const listener = program.addEventListener("liquidationEvent", (seen, slot) => heard({ seen, slot }));
const changed = new Promise((resolve) => {
  const watching = connection.onAccountChange(position, (account, context) => {
    connection.removeAccountChangeListener(watching);
    resolve({ lamports: account.lamports, slot: context.slot });
  });
});
tell("ready for the fall", {});
await lines.next();
const signature = await liquidate();
const { seen, slot } = await event;
await program.removeEventListener(listener);
const landed = await connection.getTransaction(signature, {
  commitment: "confirmed",
  maxSupportedTransactionVersion: 0,
});
const parsed = [...new EventParser(program.programId, program.coder).parseLogs(landed.meta.logMessages)];
const left = await program.account.position.fetchNullable(position);
tell("liquidated", {
  position: seen.position.toBase58() === position.toBase58(),
  isFull: seen.isFull,
  closedSize: seen.closedSize.toString(),
  reward: seen.reward.toString(),
  sameEvent: parsed.length === 1 && parsed[0].data.reward.eq(seen.reward),
  slotKnown: slot > 0,
  leftSize: left === null ? null : left.size.toString(),
  changedLamports: (await changed).lamports,
});
process.exit(0);
