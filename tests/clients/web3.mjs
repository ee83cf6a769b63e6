// What @solana/web3.js sees of the chain; one JSON object a line.
import {
  Connection, Keypair, LAMPORTS_PER_SOL, PublicKey, SystemProgram, Transaction,
  sendAndConfirmTransaction,
} from "@solana/web3.js";

const [url, wsEndpoint, programId, discriminator] = process.argv.slice(2);
const tell = (step, seen) => console.log(JSON.stringify({ step, ...seen }));
const connection = new Connection(url, { commitment: "confirmed", wsEndpoint });
const payer = Keypair.generate();
const receiver = Keypair.generate().publicKey;

const airdrop = await connection.requestAirdrop(payer.publicKey, 2 * LAMPORTS_PER_SOL);
await connection.confirmTransaction(
  { signature: airdrop, ...(await connection.getLatestBlockhash()) }, "confirmed",
);
tell("airdrop", { balance: await connection.getBalance(payer.publicKey), slot: await connection.getSlot() });

const once = (subscribe) => new Promise((resolve) => subscribe(resolve));
const account = once((done) => connection.onAccountChange(receiver, (seen) => done(seen.lamports)));
const logs = once((done) => connection.onLogs(payer.publicKey, (seen) => done(seen.signature)));
const slot = once((done) => connection.onSlotChange((seen) => done(seen.slot)));
const prices = once((done) =>
  connection.onProgramAccountChange(
    new PublicKey("rec5EKMGg6MxZYaMdyBfgwp4d5rB9T1VQH5pJv5LtFJ"), (seen) => done(seen.accountInfo.data.length),
  ));
await new Promise((resolve) => setTimeout(resolve, 500));
const transfer = new Transaction().add(
  SystemProgram.transfer({ fromPubkey: payer.publicKey, toPubkey: receiver, lamports: LAMPORTS_PER_SOL }),
);
const signature = await sendAndConfirmTransaction(connection, transfer, [payer]);
tell("transfer", {
  account: await account,
  logs: (await logs) === signature,
  slot: (await slot) > 0,
  priceLength: await prices,
});

const markets = await connection.getProgramAccounts(new PublicKey(programId), {
  filters: [{ memcmp: { offset: 0, bytes: discriminator } }],
});
tell("program accounts", { count: markets.length, owner: markets[0].account.owner.toBase58() === programId });

try {
  await sendAndConfirmTransaction(
    connection,
    new Transaction().add(
      SystemProgram.transfer({ fromPubkey: payer.publicKey, toPubkey: receiver, lamports: 100 * LAMPORTS_PER_SOL }),
    ),
    [payer],
  );
  tell("refused", { logs: null });
} catch (error) {
  tell("refused", { logs: error.logs?.length ?? 0, text: error.message });
}
process.exit(0);
