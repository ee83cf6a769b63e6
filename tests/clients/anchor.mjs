// What the official Anchor client makes of the program and the chain; one JSON object a line.
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import anchor from "@coral-xyz/anchor";
import { Connection, Keypair, PublicKey } from "@solana/web3.js";

const {
  AnchorError, AnchorProvider, BN, EventParser, Program, ProgramError, Wallet, parseIdlErrors,
} = anchor;
const [url, wsEndpoint, idlPath, keyPath, market, ownerToken] = process.argv.slice(2);
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const options = { commitment: "confirmed", maxSupportedTransactionVersion: 0 };
const tell = (step, seen = {}) => console.log(JSON.stringify({ step, ...seen }));

const key = Keypair.fromSecretKey(Uint8Array.from(JSON.parse(readFileSync(keyPath, "utf8"))));
const owner = key.publicKey;
const connection = new Connection(url, { commitment: "confirmed", wsEndpoint });
const provider = new AnchorProvider(connection, new Wallet(key), { commitment: "confirmed" });
const program = new Program(JSON.parse(readFileSync(idlPath, "utf8")), provider);

// Numbers of any width as text, because JSON has only doubles.
const plain = (value) => {
  if (value === null || typeof value === "boolean") return value;
  if (BN.isBN(value) || typeof value === "number") return value.toString();
  if (value instanceof PublicKey) return value.toBase58();
  if (Array.isArray(value) || ArrayBuffer.isView(value)) return Array.from(value, plain);
  return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, plain(part)]));
};

const until = async (holds) => {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 20));
};

const { signature, pubkeys } = await program.methods
  .openPosition(new BN(7), new BN("100000000000"), new BN(1_600_000_000), 10)
  .accounts({ owner, market, ownerToken })
  .rpcAndKeys();
const { position, insuranceFund } = pubkeys;
tell("opened", {
  signature,
  position: position.toBase58(),
  InsuranceFund: plain(await program.account.insuranceFund.fetch(insuranceFund)),
  Market: plain(await program.account.market.fetch(market)),
  Position: plain(await program.account.position.fetch(position)),
  ofOwner: (await program.account.position.all([{ memcmp: { offset: 8, bytes: owner.toBase58() } }]))
    .map((found) => found.publicKey.toBase58()),
});

const most = new BN("18446744073709551615");
const liquidation = () =>
  program.methods
    .liquidate(most)
    .accounts({ liquidator: owner, liquidatorToken: ownerToken, position, ownerToken });
const assess = async () => plain(await program.methods.assess(most).accounts({ position }).view());

const told = ({ error }) => ({
  name: error.errorCode.code,
  number: error.errorCode.number,
  message: error.errorMessage,
});
const refusedBeforeSending = async () => {
  try {
    return { signature: await liquidation().rpc() };
  } catch (error) {
    return told(error);
  }
};
const refusedInItsBlock = async () => {
  const transaction = await liquidation().transaction();
  const failed = await connection.sendTransaction(transaction, [key], { skipPreflight: true });
  const status = await new Promise((resolve) => connection.onSignature(failed, resolve, "confirmed"));
  const { meta } = await connection.getTransaction(failed, options);
  const byCode = ProgramError.parse(JSON.stringify(status.err), parseIdlErrors(program.idl));
  return {
    status: status.err,
    byLog: told(AnchorError.parse(meta.logMessages)),
    byCode: { number: byCode.code, message: byCode.msg },
  };
};
tell("refused", {
  assessed: await assess(),
  beforeSending: await refusedBeforeSending(),
  inItsBlock: await refusedInItsBlock(),
});

const heard = [];
const changes = [];
program.addEventListener("liquidationEvent", (event, slot, of) => heard.push({ event, slot, of }));
connection.onAccountChange(position, ({ lamports, data }) => changes.push({ lamports, length: data.length }));

for (const step of ["shrunk", "gone"]) {
  tell(`ready to be ${step}`);
  await lines.next();
  const assessed = await assess();
  const liquidated = await liquidation().rpc();
  await until(() => heard.some(({ of }) => of === liquidated));
  const { event, slot } = heard.find(({ of }) => of === liquidated);
  const landed = await connection.getTransaction(liquidated, options);
  const parser = new EventParser(program.programId, program.coder);
  tell(step, {
    signature: liquidated,
    assessed,
    slot,
    heard: plain(event),
    parsed: [...parser.parseLogs(landed.meta.logMessages)].map(({ name, data }) => [name, plain(data)]),
    Position: plain(await program.account.position.fetchNullable(position)),
  });
}
await until(() => changes.length === 2);
tell("changes", { changes, events: heard.length });
process.exit(0);
