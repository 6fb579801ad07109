// Who a token speaks for: every trust source, every check, every place where permissions may stand. The clock is
// the test's; key sets come from real files and from a real web server on loopback.

import { createHmac, createPublicKey, generateKeyPairSync } from "node:crypto"
import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest"
import { type Config, loadConfig } from "../../broker/config.ts"
import { IdentityVerifier, type Verified } from "../../broker/identity.ts"
import {
  EVERYTHING,
  forge,
  type Issuer,
  type KeyPair,
  keySet,
  newKey,
  openIssuer,
  sign,
} from "../kit/keys.ts"
import { until } from "../kit/patience.ts"
import { newFolder, removeFolder } from "../kit/process.ts"
import { TestWorld } from "../kit/world.ts"

const SECRET = "dev-test-secret"
/** Longer than it takes until a changed file is looked at. */
const LOOK_MS = 5_000

let rs: KeyPair
let es: KeyPair
let ed: KeyPair
let folder: string
beforeAll(async () => {
  ;[rs, es, ed] = await Promise.all([newKey("RS256", "r1"), newKey("ES256", "e1"), newKey("EdDSA", "d1")])
  folder = newFolder()
})
afterAll(() => removeFolder(folder))

const verifiers: IdentityVerifier[] = []
const issuers: Issuer[] = []
afterEach(async () => {
  for (const verifier of verifiers.splice(0)) verifier.stop()
  await Promise.all(issuers.splice(0).map(issuer => issuer.close()))
})

interface Opened {
  readonly world: TestWorld
  readonly verifier: IdentityVerifier
  readonly familyChanges: { count: number }
  /** The claims and header are judged at the world's time. */
  verify(token: Promise<string> | string): Promise<Verified | string>
  /** Lets so much time pass. */
  pass(ms: number): void
}

function open(environment: Readonly<Record<string, string>>): Opened {
  const world = new TestWorld()
  const config: Config = loadConfig({ environment, flags: {}, file: null })
  const familyChanges = { count: 0 }
  const verifier = new IdentityVerifier(config, world, null, () => familyChanges.count++)
  verifiers.push(verifier)
  return {
    world,
    verifier,
    familyChanges,
    verify: async token => verifier.verify(await token),
    pass: ms => {
      world.moveTo(world.now() + ms)
      while (world.run());
    },
  }
}

/** A token of the world's time. */
function at(
  world: TestWorld,
  key: KeyPair | string,
  options: Parameters<typeof sign>[1] = {},
): Promise<string> {
  return sign(key, { nowMs: world.now(), ...options })
}

function file(name: string, content: string): string {
  const path = join(folder, name)
  writeFileSync(path, content)
  return path
}

describe("P-13: shared secret", () => {
  test("a token of the suite's kind is taken", async () => {
    const { world, verify } = open({ FITZ_JWT_HMAC_SECRET: SECRET })
    expect(await verify(at(world, SECRET))).toEqual({
      family: 1,
      identity: "dev",
      subject: "dev",
      realm: "",
      permissions: EVERYTHING,
    })
  })

  test("the secret is its UTF-8 bytes, and any other one is refused", async () => {
    const { world, verify } = open({ FITZ_JWT_HMAC_SECRET: "schlüssel-ключ-🔑" })
    expect(await verify(at(world, "schlüssel-ключ-🔑"))).toMatchObject({ family: 1 })
    expect(await verify(at(world, "schlüssel-ключ-🔑-invalid"))).toBe("signature")
    expect(await verify(at(world, "schl"))).toBe("signature")
  })

  test.each(["HS384", "HS512"])("%s is refused: the secret is for HS256", async alg => {
    const { world, verify } = open({ FITZ_JWT_HMAC_SECRET: SECRET })
    expect(await verify(at(world, SECRET, { header: { alg } }))).toBe("algorithm")
  })

  test("P-15: a secret file is read with or without its line end, and again when it changes", async () => {
    for (const end of ["", "\n", "\r\n"]) {
      const path = file("secret", `first secret${end}`)
      const { world, verify, pass } = open({ FITZ_JWT_HMAC_SECRET_FILE: path })
      expect(await verify(at(world, "first secret"))).toMatchObject({ family: 1 })
      writeFileSync(path, `second secret${end}`)
      pass(LOOK_MS)
      expect(await verify(at(world, "first secret"))).toBe("signature")
      expect(await verify(at(world, "second secret"))).toMatchObject({ family: 1 })
      // An empty file and no file at all leave the last secret in use, and say so without telling it.
      writeFileSync(path, "")
      pass(LOOK_MS)
      rmSync(path)
      pass(LOOK_MS)
      expect(await verify(at(world, "second secret"))).toMatchObject({ family: 1 })
      const complaints = world.records.filter(record => record.level === "error")
      expect(complaints).toHaveLength(2)
      expect(JSON.stringify(world.records)).not.toMatch(/(first|second) secret/)
    }
  })

  test("without a secret HS256 is refused", async () => {
    const { world, verify } = open({ FITZ_JWT_CLIENT_JWKS_FILE: file("e.json", keySet(es)) })
    expect(await verify(at(world, SECRET))).toBe("algorithm")
  })
})

describe("P-13: key sets", () => {
  test.each(["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"])(
    "%s is verified",
    async alg => {
      const key = await newKey(alg, "k")
      const path = file(`${alg}.json`, keySet(key))
      const { world, verify } = open({ FITZ_JWT_CLIENT_JWKS_FILE: path })
      expect(await verify(at(world, key))).toMatchObject({ family: 1, identity: "dev" })
      const other = await newKey(alg, "k")
      expect(await verify(at(world, other))).toBe("signature")
    },
  )

  test("the algorithm may be left to the key's kind, and Ed25519 is EdDSA's other name", async () => {
    const bare = [rs, es, ed].map(({ jwk }) => ({ ...jwk, alg: undefined }))
    const { world, verify } = open({ FITZ_JWT_CLIENT_JWKS_FILE: file("bare.json", keySet(...bare)) })
    for (const key of [rs, es, ed]) expect(await verify(at(world, key))).toMatchObject({ family: 1 })
    expect(await verify(at(world, ed, { header: { alg: "Ed25519" } }))).toMatchObject({ family: 1 })
  })

  test("kid chooses; a token without one may be any key's; an unknown one is nobody's", async () => {
    const second = await newKey("ES256", "e2")
    const path = file("two.json", keySet(es, second))
    const { world, verify } = open({ FITZ_JWT_CLIENT_JWKS_FILE: path })
    for (const key of [es, second]) {
      expect(await verify(at(world, key))).toMatchObject({ family: 1 })
      expect(await verify(at(world, key, { header: { kid: undefined } }))).toMatchObject({ family: 1 })
    }
    expect(await verify(at(world, es, { header: { kid: "e2" } }))).toBe("signature")
    expect(await verify(at(world, es, { header: { kid: "e3" } }))).toBe("key")
    expect(await verify(at(world, es, { header: { kid: 1 } }))).toBe("key")
  })

  test("a folder is all sets in it, hidden files left out, and follows as mounted folders are swapped", async () => {
    const mount = join(folder, "mount")
    mkdirSync(join(mount, "..first"), { recursive: true })
    writeFileSync(join(mount, "..first", "a.json"), keySet(es))
    writeFileSync(join(mount, "..first", "b.json"), keySet(rs))
    symlinkSync("..first", join(mount, "..data"))
    symlinkSync(join("..data", "a.json"), join(mount, "a.json"))
    symlinkSync(join("..data", "b.json"), join(mount, "b.json"))
    const { world, verify, pass } = open({ FITZ_JWT_CLIENT_JWKS_FILE: mount })
    expect(await verify(at(world, es))).toMatchObject({ family: 1 })
    expect(await verify(at(world, rs))).toMatchObject({ family: 1 })
    mkdirSync(join(mount, "..second"))
    writeFileSync(join(mount, "..second", "a.json"), keySet(ed))
    writeFileSync(join(mount, "..second", "b.json"), keySet(rs))
    symlinkSync("..second", join(mount, "..new"))
    renameSync(join(mount, "..new"), join(mount, "..data"))
    pass(LOOK_MS)
    expect(await verify(at(world, es))).toBe("key")
    expect(await verify(at(world, ed))).toMatchObject({ family: 1 })
    expect(await verify(at(world, rs))).toMatchObject({ family: 1 })
  })

  test.each([
    ["not JSON", "{"],
    ["no set", '{"kty":"EC"}'],
    ["keys that are no list", '{"keys":{}}'],
    ["a key without a kind", '{"keys":[{}]}'],
  ])("P-15: a set that becomes %s leaves the old keys in use and is logged", async (_name, broken) => {
    const path = file("changing.json", keySet(es))
    const { world, verify, pass } = open({ FITZ_JWT_CLIENT_JWKS_FILE: path })
    writeFileSync(path, broken)
    pass(LOOK_MS)
    pass(LOOK_MS)
    expect(await verify(at(world, es))).toMatchObject({ family: 1 })
    expect(world.records.filter(record => record.level === "error")).toEqual([
      {
        level: "error",
        message: "a file that changed cannot be used",
        fields: { paths: [path], reason: expect.stringContaining(path) },
      },
    ])
    writeFileSync(path, keySet(rs))
    pass(LOOK_MS)
    expect(await verify(at(world, rs))).toMatchObject({ family: 1 })
    expect(await verify(at(world, es))).toBe("key")
  })

  test("keys that cannot verify anything are left out, and it is said which and why", async () => {
    const weak = generateKeyPairSync("rsa", { modulusLength: 1024 }).publicKey.export({ format: "jwk" })
    const cases: readonly (readonly [object, string])[] = [
      [{ kty: "oct", k: "c2VjcmV0", alg: "HS256" }, "shared secret"],
      [{ ...es.jwk, use: "enc" }, "use"],
      [{ ...es.jwk, key_ops: ["deriveKey"] }, "key_ops"],
      [{ ...es.jwk, alg: "ES384" }, "other keys"],
      [{ ...rs.jwk, alg: "ES256" }, "other keys"],
      [{ ...es.jwk, alg: "HS256" }, "not supported"],
      [{ ...es.jwk, alg: "none" }, "not supported"],
      [{ ...weak, alg: "RS256" }, "2048 bits"],
      [{ kty: "EC", crv: "P-256", x: "AA", y: "AA" }, "no key"],
      [{ kty: "EC", crv: "secp256k1", x: "AA", y: "AA" }, "not supported"],
      [{ kty: "AKP", alg: "ML-DSA-44", pub: "AA" }, "not supported"],
    ]
    const path = file("odd.json", JSON.stringify({ keys: [...cases.map(([jwk]) => jwk), ed.jwk] }))
    const { world, verify } = open({ FITZ_JWT_CLIENT_JWKS_FILE: path })
    const warnings = world.records.filter(record => record.level === "warn")
    expect(warnings.map(record => record.fields["reason"])).toEqual(
      cases.map(([, reason]) => expect.stringContaining(reason)),
    )
    expect(JSON.stringify(world.records)).not.toContain("c2VjcmV0")
    expect(await verify(at(world, ed))).toMatchObject({ family: 1 })
    expect(await verify(at(world, es))).toBe("key")
    expect(await verify(at(world, rs))).toBe("key")
  })

  test("a private key in a set verifies with its public half", async () => {
    const path = file("private.json", keySet({ ...es.privateJwk }))
    const { world, verify } = open({ FITZ_JWT_CLIENT_JWKS_FILE: path })
    expect(await verify(at(world, es))).toMatchObject({ family: 1 })
  })
})

describe("P-13: confusion", () => {
  const both = (): Opened =>
    open({ FITZ_JWT_HMAC_SECRET: SECRET, FITZ_JWT_CLIENT_JWKS_FILE: file("rs.json", keySet(rs, es)) })

  test("`none` is refused, with and without a signature", async () => {
    const { world, verify } = both()
    const claims = { aud: "fitz", tid: "dev", exp: world.now() / 1_000 + 60, permissions: EVERYTHING }
    for (const alg of ["none", "None", "NONE", ""]) {
      for (const signature of ["", "AAAA"]) {
        expect(await verify(forge({ alg, typ: "JWT" }, claims, signature))).toMatch(/^(algorithm|malformed)$/)
      }
    }
  })

  test("HS256 signed with a public key is refused, in every form that key is known in", async () => {
    const { world, verify } = both()
    const publicKey = createPublicKey({ key: rs.jwk as never, format: "jwk" })
    const forms = [
      publicKey.export({ type: "spki", format: "pem" }).toString(),
      publicKey.export({ type: "pkcs1", format: "pem" }).toString(),
      publicKey.export({ type: "spki", format: "der" }).toString("latin1"),
      JSON.stringify(rs.jwk),
      keySet(rs, es),
      rs.jwk.n!,
    ]
    for (const form of forms) {
      const header = { alg: "HS256", typ: "JWT", kid: rs.kid }
      const claims = { aud: "fitz", tid: "dev", exp: world.now() / 1_000 + 60, permissions: EVERYTHING }
      const signed = forge(header, claims).slice(0, -1)
      const signature = createHmac("sha256", Buffer.from(form, "latin1")).update(signed).digest()
      expect(await verify(forge(header, claims, signature))).toBe("signature")
    }
  })

  test("a key set with a shared secret in it does not make HS256 possible", async () => {
    const k = Buffer.from(SECRET).toString("base64url")
    const path = file("oct.json", JSON.stringify({ keys: [{ kty: "oct", k, alg: "HS256" }] }))
    const { world, verify } = open({ FITZ_JWT_CLIENT_JWKS_FILE: path })
    expect(await verify(at(world, SECRET))).toBe("algorithm")
  })

  test("a key named or carried by the token itself counts for nothing", async () => {
    const { world, verify } = both()
    const stranger = await newKey("ES256", "e1")
    for (const header of [
      { jwk: stranger.jwk },
      { jku: "http://127.0.0.1:1/keys" },
      { x5u: "http://127.0.0.1:1/cert" },
    ])
      expect(await verify(at(world, stranger, { header }))).toBe("signature")
  })

  test("an RSA key bound to RS256 verifies no PS256, and an algorithm's key no other algorithm", async () => {
    const { world, verify } = both()
    const token = await at(world, es)
    const [, body, signature] = token.split(".")
    for (const alg of ["RS256", "ES384", "EdDSA", "PS256"]) {
      const header = Buffer.from(JSON.stringify({ alg, kid: "e1" })).toString("base64url")
      expect(await verify(`${header}.${body}.${signature}`)).toMatch(/^(key|signature)$/)
    }
  })

  test("a critical header that nobody understands is refused", async () => {
    const { world, verify } = both()
    const header = { alg: "ES256", kid: "e1", crit: ["exp-policy"], "exp-policy": true }
    const claims = { aud: "fitz", tid: "dev", exp: world.now() / 1_000 + 60, permissions: EVERYTHING }
    expect(await verify(forge(header, claims, "AAAA"))).toBe("malformed")
  })

  test.each([
    "",
    ".",
    "..",
    "...",
    "a.b.c",
    "a.b",
    "a.b.c.d",
    "not a token",
    "\u0000",
    "eyJhbGciOiJIUzI1NiJ9..",
    "ey.ey.ey",
  ])("%j is no token", async text => {
    const { verify } = both()
    expect(await verify(text)).toMatch(/^(malformed|algorithm|signature)$/)
  })

  test("a token whose claims were changed, or cut short anywhere, is refused", async () => {
    const { world, verify } = both()
    const token = await at(world, SECRET)
    for (let end = 0; end < token.length; end += 7)
      expect(typeof (await verify(token.slice(0, end)))).toBe("string")
    const [head, body, signature] = token.split(".")
    const claims = JSON.parse(Buffer.from(body!, "base64url").toString()) as object
    const other = Buffer.from(JSON.stringify({ ...claims, tid: "root" })).toString("base64url")
    expect(await verify(`${head}.${other}.${signature}`)).toBe("signature")
  })
})

describe("P-14: claims", () => {
  const opened = (environment: Readonly<Record<string, string>> = {}): Opened =>
    open({ FITZ_JWT_HMAC_SECRET: SECRET, ...environment })

  test.each<[claim: string, seconds: number | undefined | string, outcome: string | null]>([
    ["exp", 1, null],
    ["exp", 0, "expired"],
    ["exp", -1, "expired"],
    ["exp", -3_600, "expired"],
    ["exp", undefined, "claims"],
    ["exp", "soon", "claims"],
    ["nbf", -1, null],
    ["nbf", 60, null],
    ["nbf", 61, "claims"],
    ["nbf", "now", "claims"],
    ["iat", -1_000_000, null],
    ["iat", 60, null],
    ["iat", 61, "claims"],
    ["iat", undefined, null],
    ["iat", "now", "claims"],
  ])("%s of now %s s is %s", async (claim, seconds, outcome) => {
    const { world, verify } = opened()
    const value = typeof seconds === "number" ? Math.floor(world.now() / 1_000) + seconds : seconds
    const found = await verify(at(world, SECRET, { claims: { [claim]: value } }))
    if (outcome === null) expect(found).toMatchObject({ family: 1 })
    else expect(found).toBe(outcome)
  })

  test("a token ends to the second", async () => {
    const { world, verify, pass } = opened()
    const token = await at(world, SECRET, { claims: { exp: world.now() / 1_000 + 10 } })
    pass(9_999)
    expect(await verify(token)).toMatchObject({ family: 1 })
    pass(1)
    expect(await verify(token)).toBe("expired")
  })

  test("one of the audiences has to be named, as text or in a list", async () => {
    for (const name of ["FITZ_JWT_AUDIENCES", "FITZ_JWT_AUDIENCE"]) {
      const { world, verify } = opened({ [name]: "fitz-eu, fitz-us" })
      const aud = (aud: unknown): Promise<Verified | string> => verify(at(world, SECRET, { claims: { aud } }))
      for (const good of ["fitz-eu", "fitz-us", ["fitz-us"], ["other", "fitz-eu"]])
        expect(await aud(good)).toMatchObject({ family: 1 })
      for (const bad of ["fitz", "fitz-eu,fitz-us", "", [], ["other"], undefined, 5, "Fitz-eu"])
        expect(await aud(bad), JSON.stringify(bad)).toBe("claims")
    }
  })

  test("the issuer is free with a shared secret", async () => {
    const { world, verify } = opened()
    for (const iss of ["", "anybody", undefined])
      expect(await verify(at(world, SECRET, { claims: { iss } }))).toMatchObject({ family: 1 })
  })

  test("only the generated set takes the broker's own audience", async () => {
    const { world, verify } = open({
      FITZ_BROKER_UID: "1234-abcd",
      FITZ_JWT_HMAC_SECRET: SECRET,
      FITZ_JWT_JWKS_FILE: file("generated.json", keySet(es)),
      FITZ_JWT_CLIENT_JWKS_FILE: file("clients.json", keySet(rs)),
    })
    const own = { claims: { aud: "urn:fitz:broker:1234-abcd" } }
    expect(await verify(at(world, es, own))).toMatchObject({ family: 1 })
    expect(await verify(at(world, rs, own))).toBe("claims")
    expect(await verify(at(world, SECRET, own))).toBe("claims")
    expect(await verify(at(world, es, { claims: { aud: "urn:fitz:broker:other" } }))).toBe("claims")
    for (const key of [es, rs, SECRET]) expect(await verify(at(world, key))).toMatchObject({ family: 1 })
  })

  test("without the broker's id no such audience is taken", async () => {
    const { world, verify } = open({ FITZ_JWT_JWKS_FILE: file("generated.json", keySet(es)) })
    for (const aud of ["urn:fitz:broker:", "urn:fitz:broker:null"])
      expect(await verify(at(world, es, { claims: { aud } }))).toBe("claims")
  })
})

describe("P-15: several sources at once", () => {
  test("secret, generated set, clients' set and issuers each verify their own", async () => {
    const remote = await newKey("ES256", "remote")
    const issuer = await openIssuer(keySet(remote))
    issuers.push(issuer)
    const { world, verify } = open({
      FITZ_JWT_HMAC_SECRET_FILE: file("several-secret", SECRET),
      FITZ_JWT_JWKS_FILE: file("several-generated.json", keySet(es)),
      FITZ_JWT_CLIENT_JWKS_FILE: file("several-clients.json", keySet(rs, ed)),
      FITZ_JWT_JWKS_MAP: `https://issuer.example=${issuer.url}`,
    })
    for (const key of [SECRET, es, rs, ed]) expect(await verify(at(world, key))).toMatchObject({ family: 1 })
    const claims = { iss: "https://issuer.example" }
    expect(await verify(at(world, remote, { claims }))).toMatchObject({ family: 1 })
    // Without a kid a local key is tried first, and that it has not signed decides nothing.
    expect(await verify(at(world, remote, { claims, header: { kid: undefined } }))).toMatchObject({
      family: 1,
    })
    expect(await verify(at(world, remote))).toBe("key")
    expect(await verify(at(world, remote, { claims: { iss: "https://issuer.example/" } }))).toBe("key")
    expect(await verify(at(world, await newKey("ES256", "e1")))).toBe("signature")
  })
})

describe("P-15: key sets with an address", () => {
  const ISSUER = "https://issuer.example/tenant?a=b"
  const claims = { iss: ISSUER }
  const MINUTE = 60_000

  async function fetched(first: string, query = ""): Promise<Opened & { issuer: Issuer }> {
    const issuer = await openIssuer(first)
    issuers.push(issuer)
    return { ...open({ FITZ_JWT_JWKS_MAP: `${ISSUER}=${issuer.url}${query}` }), issuer }
  }

  function warnings(world: TestWorld): unknown[] {
    return world.records
      .filter(record => record.message === "a key set cannot be fetched")
      .map(record => record.fields["reason"])
  }

  test("keys are fetched once and serve every token", async () => {
    const { world, verify, issuer } = await fetched(keySet(es, rs))
    for (let times = 0; times < 3; times++) {
      expect(await verify(at(world, es, { claims }))).toMatchObject({ family: 1 })
      expect(await verify(at(world, rs, { claims }))).toMatchObject({ family: 1 })
    }
    expect(issuer.asked).toBe(1)
  })

  test("an unknown key makes it ask again, though not more often than every 30 s", async () => {
    const next = await newKey("ES256", "e2")
    const { world, verify, issuer, pass } = await fetched(keySet(es))
    expect(await verify(at(world, es, { claims }))).toMatchObject({ family: 1 })
    issuer.answer = response => response.end(keySet(es, next))
    const token = await at(world, next, { claims })
    expect(await verify(token)).toBe("key")
    pass(29_999)
    expect(await verify(token)).toBe("key")
    expect(issuer.asked).toBe(1)
    pass(1)
    expect(await Promise.all([verify(token), verify(token), verify(token)])).toEqual(
      Array(3).fill(expect.objectContaining({ family: 1 })),
    )
    expect(issuer.asked).toBe(2)
  })

  test("a withdrawn key ends within 5 minutes", async () => {
    const { world, verify, issuer, pass } = await fetched(keySet(es, rs))
    expect(await verify(at(world, es, { claims }))).toMatchObject({ family: 1 })
    issuer.answer = response => response.end(keySet(rs))
    pass(5 * MINUTE)
    await until("the keys were fetched again", () => issuer.asked === 2)
    await until(
      "the withdrawn key is refused",
      async () => (await verify(at(world, es, { claims }))) === "key",
    )
    expect(await verify(at(world, rs, { claims }))).toMatchObject({ family: 1 })
  })

  test.each<[string, Issuer["answer"], string]>([
    ["answers 500", response => response.writeHead(500).end(keySet()), "the answer is HTTP 500"],
    ["answers 404", response => response.writeHead(404).end(), "the answer is HTTP 404"],
    [
      "sends elsewhere",
      response => response.writeHead(302, { location: "/elsewhere" }).end(),
      "the answer is HTTP 302",
    ],
    ["answers no key set", response => response.end("<html>secret page</html>"), "there is no key set in it"],
    [
      "answers without end",
      response => response.end("x".repeat(1024 * 1024 + 1)),
      "the answer is longer than 1048576 bytes",
    ],
    ["hangs up", response => response.destroy(), "UND_ERR_SOCKET"],
  ])("an issuer that %s is logged, and the old keys stay", async (_name, answer, reason) => {
    const { world, verify, issuer, pass } = await fetched(keySet(es), "?token=hidden")
    const good = issuer.answer
    expect(await verify(at(world, es, { claims }))).toMatchObject({ family: 1 })
    issuer.answer = answer
    pass(5 * MINUTE)
    await until("it is logged", () => warnings(world).length === 1)
    expect(warnings(world)).toEqual([reason])
    expect(JSON.stringify(world.records)).not.toMatch(/hidden|secret page/)
    expect(world.records.at(-1)!.fields["url"]).toBe(issuer.url)
    expect(await verify(at(world, es, { claims }))).toMatchObject({ family: 1 })
    issuer.answer = good
    pass(5 * MINUTE)
    await until("that it works again is logged", () =>
      world.records.some(record => record.message === "a key set could be fetched again"),
    )
  })

  test("an issuer that is not there at first may come later; until then its keys are unknown", async () => {
    const { world, verify, issuer, pass } = await fetched("")
    const token = await at(world, es, { claims })
    expect(await verify(token)).toBe("key")
    issuer.answer = response => response.end(keySet(es))
    expect(await verify(token)).toBe("key")
    pass(30_000)
    expect(await verify(token)).toMatchObject({ family: 1 })
    const nobody = await openIssuer("")
    await nobody.close()
    const alone = open({ FITZ_JWT_JWKS_MAP: `${ISSUER}=${nobody.url}` })
    expect(await alone.verify(token)).toBe("key")
    expect(warnings(alone.world)).toEqual(["ECONNREFUSED"])
  })

  test("one issuer's keys are no other's", async () => {
    const [first, second] = [await openIssuer(keySet(es)), await openIssuer(keySet(rs))]
    issuers.push(first, second)
    const { world, verify } = open({
      FITZ_JWT_JWKS_MAP: `https://one=${first.url},https://two=${second.url}`,
    })
    expect(await verify(at(world, es, { claims: { iss: "https://one" } }))).toMatchObject({ family: 1 })
    expect(await verify(at(world, rs, { claims: { iss: "https://two" } }))).toMatchObject({ family: 1 })
    expect(await verify(at(world, es, { claims: { iss: "https://two" } }))).toBe("key")
    expect(await verify(at(world, rs, { claims: { iss: "https://three" } }))).toBe("key")
  })
})

describe("P-2, P-3, P-4: permissions", () => {
  const ENVIRONMENT = {
    FITZ_JWT_HMAC_SECRET: SECRET,
    FITZ_JWT_PERMISSIONS_OBJECT_CLAIM: "fitz",
    FITZ_JWT_PERMISSIONS_CLAIM: "grants",
    FITZ_JWT_ROLES_CLAIM: "groups",
  }
  /** All six, in the order in which they count. */
  const SOURCES: readonly (readonly [string, unknown, string])[] = [
    ["fitz", { permissions: ["kv://a/**#read"] }, "kv://a/**#read"],
    ["permissions", ["kv://b/**#read"], "kv://b/**#read"],
    ["grants", ["kv://c/**#read"], "kv://c/**#read"],
    ["groups", ["kv://d/**#read"], "kv://d/**#read"],
    ["scp", ["kv://e/**#read"], "kv://e/**#read"],
    ["scope", "kv://f/**#read", "kv://f/**#read"],
  ]

  async function permissionsOf(
    claims: Readonly<Record<string, unknown>>,
    environment: Readonly<Record<string, string>> = ENVIRONMENT,
  ): Promise<readonly string[] | string | null> {
    const { world, verify } = open(environment)
    const found = await verify(at(world, SECRET, { claims: { permissions: undefined, ...claims } }))
    return typeof found === "string" ? found : found.permissions
  }

  test("the first source that is there wins", async () => {
    for (let first = 0; first < SOURCES.length; first++) {
      const there = SOURCES.slice(first)
      const claims = Object.fromEntries(there.map(([claim, value]) => [claim, value]))
      expect(await permissionsOf(claims), there[0]![0]).toEqual([there[0]![2]])
    }
  })

  test("a source that is there and empty is still the first", async () => {
    expect(await permissionsOf({ permissions: [], scope: "kv://f/**#read" })).toBe("no_permissions")
    expect(await permissionsOf({ permissions: ["admin:read"], scope: "kv://f/**#read" })).toBe(
      "no_permissions",
    )
  })

  test("an object claim without permissions, or that is no object, is no source", async () => {
    for (const fitz of [{}, null, "text", 5, { roles: ["x"] }])
      expect(await permissionsOf({ fitz, permissions: ["kv://b/**"] })).toEqual(["kv://b/**#*"])
  })

  test("claims with a configurable name count only where they are configured", async () => {
    const plain = { FITZ_JWT_HMAC_SECRET: SECRET }
    const claims = { fitz: { permissions: ["kv://a/**"] }, grants: ["kv://c/**"], groups: ["kv://d/**"] }
    expect(await permissionsOf(claims, plain)).toBe("no_permissions")
    expect(await permissionsOf({ ...claims, roles: ["kv://g/**"] }, plain)).toEqual(["kv://g/**#*"])
  })

  test.each<[string, unknown]>([
    ["permissions", "kv://a/**"],
    ["permissions", [5]],
    ["permissions", ["kv://a/**", null]],
    ["permissions", { 0: "kv://a/**" }],
    ["permissions", null],
    ["scope", 5],
    ["scp", [["kv://a/**"]]],
  ])("%s of %j refuses the token", async (claim, value) => {
    expect(await permissionsOf({ [claim]: value })).toBe("permissions")
  })

  test("P-3: coarse scopes count in scp and scope, for five domains, and nowhere else", async () => {
    expect(await permissionsOf({ scope: "queue.read  lease.write openid" })).toEqual([
      "queue://**#read",
      "lease://**#write",
    ])
    expect(await permissionsOf({ scp: "notice.write" })).toEqual(["notice://**#write"])
    expect(await permissionsOf({ scp: ["rpc.read", "stream.write", "queue://jobs/**#*"] })).toEqual([
      "rpc://**#read",
      "stream://**#write",
      "queue://jobs/**#*",
    ])
    for (const entry of [
      "kv.read",
      "schedule.write",
      "queue.admin",
      "queue",
      "queue.read.more",
      "Queue.read",
    ])
      expect(await permissionsOf({ scope: entry }), entry).toBe("no_permissions")
    expect(await permissionsOf({ permissions: ["queue.read"] })).toBe("no_permissions")
    expect(await permissionsOf({ groups: ["queue.read"] })).toBe("no_permissions")
  })

  test("P-1, P-4: somebody else's entries are ignored, a malformed one of ours refuses the token", async () => {
    const ours = ["kv://a/**", "queue://a/*/b#read", "rpc://**#write", "lease://a/b/c#*"]
    const foreign = ["admin:read", "admin:*", "metrics:read", "data:read", "anything", "", "kv:/a", "#", "*"]
    expect(await permissionsOf({ permissions: [...foreign, ...ours] })).toEqual([
      "kv://a/**#*",
      "queue://a/*/b#read",
      "rpc://**#write",
      "lease://a/b/c#*",
    ])
    for (const malformed of [
      "kv://a/**#delete",
      "kv://a/**#",
      "kv://a//b#read",
      "kv:///a#read",
      "kv://a/b/#read",
      "kv://a/b*#read",
      "kv://a/**/**#read",
      "topic://a/**#read",
      "KV://a/**#read",
      "https://example.com/scope",
      "kv://#read",
      "kv://a/\u0001#read",
      `kv://${"a/".repeat(64)}a`,
      `kv://${"a".repeat(4_100)}`,
    ]) {
      expect(await permissionsOf({ permissions: [...ours, malformed] }), malformed).toBe("permissions")
    }
  })

  test("P-4: a token without a data-plane permission cannot CONNECT", async () => {
    for (const permissions of [undefined, [], ["admin:*"], ["metrics:read", "admin:write"]])
      expect(await permissionsOf({ permissions })).toBe("no_permissions")
  })
})

describe("P-11, P-12: families", () => {
  const MAPPED = { FITZ_JWT_HMAC_SECRET: SECRET, FITZ_ROUTE_FAMILIES: "1,2,4294967295" }

  async function familyOf(
    environment: Readonly<Record<string, string>>,
    claims: Readonly<Record<string, unknown>>,
  ): Promise<number | string> {
    const { world, verify } = open(environment)
    const found = await verify(at(world, SECRET, { claims }))
    return typeof found === "string" ? found : found.family
  }

  test("without a map every token works in family 1, with or without an identity", async () => {
    for (const tid of ["dev", "", undefined, 5]) expect(await familyOf(MAPPED, { tid })).toBe(1)
  })

  test.each([
    ["pairs", "dev=1,acme=2,big=4294967295"],
    ["lines", "# tenants\ndev=1\r\n\n acme = 2 \nbig=4294967295\n"],
    ["JSON", '{"dev":1,"acme":2,"big":4294967295}'],
  ])("a map as %s", async (_name, map) => {
    const environment = { ...MAPPED, FITZ_ROUTE_FAMILY_MAP: map }
    expect(await familyOf(environment, { tid: "dev" })).toBe(1)
    expect(await familyOf(environment, { tid: "acme" })).toBe(2)
    expect(await familyOf(environment, { tid: "big" })).toBe(4_294_967_295)
    for (const tid of ["nobody", "", undefined, 5, ["dev"], "Dev", "__proto__", "constructor"])
      expect(await familyOf(environment, { tid }), String(tid)).toBe("identity")
  })

  test("an identity may hold an equals sign, and the claim may have another name", async () => {
    const environment = {
      ...MAPPED,
      FITZ_ROUTE_FAMILY_MAP: "cn=acme=2,https://idp/x=http=1",
      FITZ_JWT_IDENTITY_CLAIM: "who",
    }
    expect(await familyOf(environment, { who: "cn=acme" })).toBe(2)
    expect(await familyOf(environment, { who: "https://idp/x=http" })).toBe(1)
    expect(await familyOf(environment, { tid: "cn=acme" })).toBe("identity")
  })

  test("C-11: a map in a file is followed, and whoever has to know is told", async () => {
    const path = file("families", "dev=1,acme=2")
    const environment = { ...MAPPED, FITZ_ROUTE_FAMILY_MAP_FILE: path }
    const { world, verifier, verify, pass, familyChanges } = open(environment)
    const as = (tid: string): Promise<Verified | string> => verify(at(world, SECRET, { claims: { tid } }))
    expect(await as("acme")).toMatchObject({ family: 2 })
    expect(verifier.familyOf("acme")).toBe(2)
    writeFileSync(path, '{"dev":2}')
    pass(LOOK_MS)
    expect(familyChanges.count).toBe(1)
    expect(verifier.familyOf("acme")).toBeNull()
    expect(await as("acme")).toBe("identity")
    expect(await as("dev")).toMatchObject({ family: 2 })
    for (const broken of ["dev=3", "dev", "dev=0", "dev=x", '{"dev":', "dev=1,dev=2"]) {
      writeFileSync(path, broken)
      pass(LOOK_MS)
      expect(await as("dev"), broken).toMatchObject({ family: 2 })
    }
    expect(familyChanges.count).toBe(1)
    expect(world.records.filter(record => record.level === "error").length).toBeGreaterThanOrEqual(4)
  })

  test("the realm is a claim of its own, empty where it is missing or no text", async () => {
    for (const [name, claims, realm] of [
      ["realm", { realm: "orders" }, "orders"],
      ["realm", {}, ""],
      ["realm", { realm: 5 }, ""],
      ["tenant", { realm: "orders", tenant: "shop" }, "shop"],
    ] as const) {
      const { world, verify } = open({ FITZ_JWT_HMAC_SECRET: SECRET, FITZ_JWT_REALM_CLAIM: name })
      expect(await verify(at(world, SECRET, { claims }))).toMatchObject({ realm })
    }
  })
})

describe("sources that cannot be opened", () => {
  test.each([
    ["FITZ_JWT_HMAC_SECRET_FILE", "missing"],
    ["FITZ_JWT_JWKS_FILE", "missing"],
    ["FITZ_JWT_CLIENT_JWKS_FILE", "broken"],
    ["FITZ_ROUTE_FAMILY_MAP_FILE", "broken"],
  ])("%s that is %s stops the start, names the option and leaves nothing running", (option, how) => {
    const world = new TestWorld()
    const path = how === "missing" ? join(folder, "missing") : file("broken", "se=cr=et, {")
    const config = loadConfig({
      environment: {
        FITZ_JWT_JWKS_FILE: file("fine.json", keySet(es)),
        [option]: path,
        ...(option === "FITZ_JWT_HMAC_SECRET_FILE" ? {} : { FITZ_JWT_HMAC_SECRET: SECRET }),
      },
      flags: {},
      file: null,
    })
    let message = ""
    try {
      new IdentityVerifier(config, world, null, () => undefined)
    } catch (error) {
      message = String(error)
    }
    expect(message).toContain(option)
    expect(message).not.toContain("cr=et")
    expect(world.nextTimerMs).toBeNull()
  })
})
