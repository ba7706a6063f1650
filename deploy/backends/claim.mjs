// Checks X-Revcred-Claim in a backend. Node 18 or newer, and nothing else.
//
//   const claims = new ClaimChecker("https://revcred.example.com", "edge-1");
//   const owner = await claims.check(request.headers["x-revcred-claim"]);
//   owner.customer, owner.subscription, owner.product, owner.credential

import { createPublicKey, verify } from "node:crypto";

const KEYS_SECONDS = 300; // the published keys are kept so long
const RETRY_SECONDS = 10; // between two looks for a key that is not among them
const CLOCK_SECONDS = 5; // that this machine's clock may be behind or ahead

export class InvalidClaim extends Error {}

export class ClaimChecker {
  #keys = new Map();
  #readAt = -Infinity;

  constructor(revcred, gateway) {
    this.revcred = revcred;
    this.gateway = gateway;
  }

  /** Return whose the call is, or throw InvalidClaim. */
  async check(claim) {
    const parts = String(claim ?? "").split(".");
    if (parts.length !== 3) throw new InvalidClaim("no claim");
    const header = decode(parts[0]);
    if (header.alg !== "EdDSA") throw new InvalidClaim("algorithm");
    const key = await this.#keyNamed(header.kid);
    const signed = Buffer.from(`${parts[0]}.${parts[1]}`);
    if (!key || !verify(null, signed, key, Buffer.from(parts[2], "base64url"))) {
      throw new InvalidClaim("signature");
    }
    const owner = decode(parts[1]);
    if (owner.iss !== this.revcred) throw new InvalidClaim("issuer");
    if (owner.aud !== this.gateway) throw new InvalidClaim("audience");
    if (!(owner.exp + CLOCK_SECONDS > Date.now() / 1000)) throw new InvalidClaim("expired");
    return owner;
  }

  async #keyNamed(kid) {
    const age = (performance.now() - this.#readAt) / 1000;
    if (age > KEYS_SECONDS || (age > RETRY_SECONDS && !this.#keys.has(kid))) {
      const answer = await fetch(`${this.revcred}/.well-known/jwks.json`);
      if (!answer.ok) throw new Error(`keys: ${answer.status}`);
      const { keys } = await answer.json();
      this.#keys = new Map(
        keys.map((jwk) => [jwk.kid, createPublicKey({ key: jwk, format: "jwk" })]),
      );
      this.#readAt = performance.now();
    }
    return this.#keys.get(kid);
  }
}

function decode(part) {
  try {
    return JSON.parse(Buffer.from(part, "base64url").toString());
  } catch {
    throw new InvalidClaim("unreadable");
  }
}
