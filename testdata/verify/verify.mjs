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
}
process.exit(failures ? 1 : 0);
