// Checks test vectors with @auth0/cose and node:crypto: node verify.mjs vectors.json
import { readFileSync } from "node:fs";
import { createHash, createPublicKey } from "node:crypto";
import { Sign1 } from "@auth0/cose";

const ED25519_SPKI = Buffer.from("302a300506032b6570032100", "hex");
const hex = (s) => Buffer.from(s, "hex");

async function verify(vector, envelope) {
  const spki = Buffer.concat([ED25519_SPKI, hex(vector.ed25519_public)]);
  const key = createPublicKey({ key: spki, format: "der", type: "spki" });
  const message = Sign1.decode(envelope);
  await message.verify(key);
  return Buffer.from(message.payload);
}

const sha256 = (...parts) => createHash("sha256").update(Buffer.concat(parts)).digest();

// merkleRoot is the root of the tree over payloads, by the definition of RFC 9162, section 2.1.1.
function merkleRoot(payloads) {
  if (payloads.length === 1) return sha256(Buffer.from([0]), payloads[0]);
  let half = 1;
  while (2 * half < payloads.length) half *= 2;
  return sha256(Buffer.from([1]), merkleRoot(payloads.slice(0, half)), merkleRoot(payloads.slice(half)));
}

let failures = 0;
const check = (name, ok) => {
  console.log(`${ok ? "ok  " : "FAIL"} ${name}`);
  if (!ok) failures++;
};

const vectors = JSON.parse(readFileSync(process.argv[2], "utf8"));
if (vectors.length === 0) throw new Error("no vectors");
for (const v of vectors) {
  const id = createHash("sha256").update(hex(v.ed25519_public)).digest().subarray(0, 8);
  check(`${v.kind}: key id`, id.equals(hex(v.key_id)));
  const payload = await verify(v, hex(v.cose_sign1)).catch((e) => e);
  check(`${v.kind}: signature and payload`, Buffer.isBuffer(payload) && payload.equals(hex(v.payload_cbor)));
  const tampered = hex(v.cose_sign1);
  tampered[tampered.length - 1] ^= 1;
  const refused = await verify(v, tampered).then(() => false, () => true);
  check(`${v.kind}: tampered signature is refused`, refused);
  if (v.pointer_payloads_cbor) {
    check(`${v.kind}: root`, v.payload_cbor.includes(merkleRoot(v.pointer_payloads_cbor.map(hex)).toString("hex")));
  }
}
process.exit(failures ? 1 : 0);
