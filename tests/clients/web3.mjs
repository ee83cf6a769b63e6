// What @solana/web3.js sees of the chain; one JSON object a line.
import {
  Connection, Keypair, LAMPORTS_PER_SOL, PublicKey, SystemProgram, Transaction,
  sendAndConfirmTransaction,
} from "@solana/web3.js";

const [url, wsEndpoint, program, priceProgram, feed, positionType, market] = process.argv.slice(2);
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
const until = async (find) => {
  while (!find()) await new Promise((resolve) => setTimeout(resolve, 20));
  return find();
};
const account = next((done) => connection.onAccountChange(receiver, done));
const slot = next((done) => connection.onSlotChange(done));
const logs = [];
const logsOfNobody = [];
connection.onLogs(payer.publicKey, (seen) => logs.push(seen));
connection.onLogs(Keypair.generate().publicKey, (seen) => logsOfNobody.push(seen));
const logsOf = (wanted) => until(() => logs.find((seen) => seen.signature === wanted));
const prices = [];
// Offset 41 is the feed of a fully verified price: one account of several of the same length.
connection.onProgramAccountChange(new PublicKey(priceProgram), (seen) => prices.push(seen), {
  filters: [{ dataSize: 134 }, { memcmp: { offset: 41, bytes: feed } }],
});
// Of what was confirmed before anybody asked, the chain tells at once.
const [late] = await next((done) => connection.onSignature(airdrop, done));
await new Promise((resolve) => setTimeout(resolve, 500));
const signature = await sendAndConfirmTransaction(connection, transfer(LAMPORTS_PER_SOL), [payer]);
tell("transfer", {
  signature,
  account: (await account)[0].lamports,
  logs: await logsOf(signature),
  slot: (await slot)[0],
  balance: await connection.getBalance(receiver),
});

const second = await connection.sendTransaction(transfer(LAMPORTS_PER_SOL / 2), [payer]);
const [status] = await next((done) => connection.onSignature(second, done, "finalized"));
tell("signature", {
  error: status.err,
  status: (await connection.getSignatureStatus(second)).value.confirmationStatus,
  late: late.err,
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

const tooMuch = transfer(100 * LAMPORTS_PER_SOL);
const failed = await connection.sendTransaction(tooMuch, [payer], { skipPreflight: true });
tell("failed", { logs: await logsOf(failed) });
await until(() => prices.length > 2);
tell("heard", {
  prices: prices.map(({ accountId, accountInfo }) => [accountId.toBase58(), accountInfo.data.length]),
  signatures: logs.map((seen) => seen.signature),
  sent: [signature, second, failed],
  logsOfNobody,
});
process.exit(0);
