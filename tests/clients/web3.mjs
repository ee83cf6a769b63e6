// What @solana/web3.js sees of the chain; one JSON object a line.
import {
  Connection, Keypair, LAMPORTS_PER_SOL, PublicKey, SystemProgram, Transaction,
  sendAndConfirmTransaction,
} from "@solana/web3.js";

const [url, wsEndpoint, program, priceProgram, positionType, market] = process.argv.slice(2);
const tell = (step, seen) => console.log(JSON.stringify({ step, ...seen }));
const connection = new Connection(url, { commitment: "confirmed", wsEndpoint });
const payer = Keypair.generate();
const receiver = Keypair.generate().publicKey;
const transfer = (lamports) =>
  new Transaction().add(SystemProgram.transfer({ fromPubkey: payer.publicKey, toPubkey: receiver, lamports }));

const airdrop = await connection.requestAirdrop(payer.publicKey, 3 * LAMPORTS_PER_SOL);
const confirmed = await connection.confirmTransaction({
  signature: airdrop,
  ...(await connection.getLatestBlockhash()),
});
tell("airdrop", {
  error: confirmed.value.err,
  balance: await connection.getBalance(payer.publicKey),
  slot: await connection.getSlot(),
});

const next = (subscribe) => new Promise((resolve) => subscribe((...seen) => resolve(seen)));
const account = next((done) => connection.onAccountChange(receiver, done));
const logs = next((done) => connection.onLogs(payer.publicKey, done));
const slot = next((done) => connection.onSlotChange(done));
const price = next((done) =>
  connection.onProgramAccountChange(new PublicKey(priceProgram), done, { filters: [{ dataSize: 134 }] }));
await new Promise((resolve) => setTimeout(resolve, 500));
const signature = await sendAndConfirmTransaction(connection, transfer(LAMPORTS_PER_SOL), [payer]);
tell("transfer", {
  signature,
  account: (await account)[0].lamports,
  logs: (await logs)[0],
  slot: (await slot)[0],
  price: {
    account: (await price)[0].accountId.toBase58(),
    length: (await price)[0].accountInfo.data.length,
  },
  balance: await connection.getBalance(receiver),
});

const second = await connection.sendTransaction(transfer(LAMPORTS_PER_SOL / 2), [payer]);
const [status] = await next((done) => connection.onSignature(second, done, "finalized"));
tell("signature", {
  error: status.err,
  status: (await connection.getSignatureStatus(second)).value.confirmationStatus,
});

const found = async (...filters) =>
  (await connection.getProgramAccounts(new PublicKey(program), { filters }))
    .map(({ pubkey }) => pubkey.toBase58()).sort();
const isPosition = { memcmp: { offset: 0, bytes: positionType } };
tell("program accounts", {
  positions: await found(isPosition),
  ofMarket: await found(isPosition, { memcmp: { offset: 40, bytes: market } }),
  ofNobody: await found(isPosition, { memcmp: { offset: 8, bytes: receiver.toBase58() } }),
  byLength: await found({ dataSize: 208 }),
});

try {
  await sendAndConfirmTransaction(connection, transfer(100 * LAMPORTS_PER_SOL), [payer]);
  tell("refused", { logs: null });
} catch (error) {
  tell("refused", { logs: error.logs, text: error.message });
}
process.exit(0);
