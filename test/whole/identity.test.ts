// Tokens at the door of a real process: who is let in, who is not, what the broker says about it, and what happens
// to those inside when keys and families change on disk. Every rule of its own is test/roof/identity.test.ts.

import { renameSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { type Caller, openCaller, type Transport } from "../kit/caller.ts"
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
import { type BrokerProcess, newFolder, removeFolder, startProcess } from "../kit/process.ts"

const SECRET = "dev-test-secret"
const ISSUER = "https://issuer.example"
const UID = "0f8fad5b-d9cb-469f-a165-70867728950e"
const TRANSPORTS: readonly Transport[] = ["tcp", "ws"]

let folder: string
let generated: KeyPair
let clients: KeyPair
let remote: KeyPair
let issuer: Issuer
let broker: BrokerProcess

/** Every token that was ever sent: none of them, and no part of one, may turn up in what the broker writes. */
const sent: string[] = []

beforeAll(async () => {
  folder = newFolder()
  ;[generated, clients, remote] = await Promise.all([
    newKey("ES256", "generated-1"),
    newKey("RS256", "clients-1"),
    newKey("EdDSA", "remote-1"),
  ])
  issuer = await openIssuer(keySet(remote))
  put("families.json", '{"dev":1,"acme":2,"leaver":1}')
  put("generated.json", keySet(generated))
  put("clients.json", keySet(clients))
  put("secret", `${SECRET}\n`)
  broker = await startProcess({
    FITZ_STORAGE_MODE: "memory",
    FITZ_DRAIN_GRACE_SECONDS: "0",
    FITZ_BROKER_UID: UID,
    FITZ_JWT_HMAC_SECRET_FILE: join(folder, "secret"),
    FITZ_JWT_JWKS_FILE: join(folder, "generated.json"),
    FITZ_JWT_CLIENT_JWKS_FILE: join(folder, "clients.json"),
    FITZ_JWT_JWKS_MAP: `${ISSUER}=${issuer.url}`,
    FITZ_ROUTE_FAMILIES: "1,2",
    FITZ_ROUTE_FAMILY_MAP_FILE: join(folder, "families.json"),
  })
})
afterAll(async () => {
  expect(await broker.kill("SIGTERM")).toBe(0)
  for (const token of sent) {
    for (const part of token.split(".").filter(part => part.length > 8))
      expect(broker.text).not.toContain(part)
  }
  for (const hidden of [SECRET, clients.privateJwk.d!, generated.privateJwk.d!])
    expect(broker.text).not.toContain(hidden)
  expect(broker.records.filter(record => record["level"] === "error" && record["msg"] !== BROKEN)).toEqual([])
  await issuer.close()
  removeFolder(folder)
})
const BROKEN = "a file that changed cannot be used"

/** Writes a file at once, as whoever mounts secrets does. */
function put(name: string, content: string): void {
  writeFileSync(join(folder, `${name}.next`), content)
  renameSync(join(folder, `${name}.next`), join(folder, name))
}

async function open(transport: Transport, token: Promise<string> | string): Promise<Caller> {
  const text = await token
  sent.push(text)
  return openCaller(transport, broker.port, text)
}

async function letIn(transport: Transport, token: Promise<string> | string): Promise<Caller> {
  const caller = await open(transport, token)
  expect(await caller.notice.unsubscribeAll()).toBeNull()
  return caller
}

/** The connection ends, and not one byte came before that. */
async function keptOut(transport: Transport, token: Promise<string> | string): Promise<void> {
  const caller = await open(transport, token)
  // Right behind CONNECT: had it been let in, this would be answered.
  caller.send(503, Buffer.alloc(0))
  await caller.closed
  expect(caller.received).toEqual([])
}

describe.each(TRANSPORTS)("over %s", transport => {
  test("P-13, P-15: each source lets in whom it vouches for", async () => {
    for (const token of [
      sign(SECRET),
      sign(generated),
      sign(generated, { claims: { aud: `urn:fitz:broker:${UID}` } }),
      sign(clients),
      sign(remote, { claims: { iss: ISSUER } }),
    ]) {
      const caller = await letIn(transport, token)
      await caller.close()
    }
  })

  test.each<[string, () => Promise<string> | string]>([
    ["nothing", () => ""],
    ["no token", () => "not a token"],
    ["a signature by another secret", () => sign(`${SECRET}-invalid`)],
    ["a signature by another key", async () => sign(await newKey("RS256", "clients-1"))],
    ["a key that nobody knows", async () => sign(await newKey("RS256", "clients-2"))],
    ["an issuer that nobody knows", () => sign(remote, { claims: { iss: "https://elsewhere.example" } })],
    ["an end in the past", () => sign(SECRET, { claims: { exp: Math.floor(Date.now() / 1_000) - 3_600 } })],
    ["no end", () => sign(SECRET, { claims: { exp: undefined } })],
    ["a beginning to come", () => sign(SECRET, { claims: { nbf: Math.floor(Date.now() / 1_000) + 600 } })],
    ["another audience", () => sign(SECRET, { claims: { aud: "other" } })],
    [
      "the broker's audience from a source that may not",
      () => sign(clients, { claims: { aud: `urn:fitz:broker:${UID}` } }),
    ],
    [
      "`none`",
      () => forge({ alg: "none" }, { aud: "fitz", tid: "dev", exp: 9_999_999_999, permissions: EVERYTHING }),
    ],
    ["an identity without a family", () => sign(SECRET, { claims: { tid: "nobody" } })],
    ["no identity", () => sign(SECRET, { claims: { tid: undefined } })],
    ["no permission at all", () => sign(SECRET, { claims: { permissions: undefined } })],
    [
      "no data-plane permission",
      () => sign(SECRET, { claims: { permissions: ["admin:*", "metrics:read"] } }),
    ],
    ["a malformed permission", () => sign(SECRET, { claims: { permissions: [...EVERYTHING, "kv://a//b"] } })],
  ])("C-2: %s is kept out, and nothing is said", async (_name, token) => {
    await keptOut(transport, token())
  })

  test("C-4: a second CONNECT ends the connection", async () => {
    const caller = await letIn(transport, sign(SECRET))
    const again = await sign(SECRET)
    sent.push(again)
    caller.send(1, Buffer.from(again))
    await caller.closed
  })

  test("C-7: requests right behind CONNECT wait for it and are handled in order", async () => {
    const caller = await open(transport, sign(clients))
    const route = `queue://behind/connect/${transport}`
    const ids = await Promise.all([1, 2, 3].map(body => caller.queue.enqueue(route, String(body))))
    expect(ids).toEqual([...ids].sort((a, b) => a - b))
    await caller.close()
  })

  test("P-8: what a token does not allow is refused, and the connection stays", async () => {
    const caller = await letIn(transport, sign(SECRET, { claims: { permissions: ["queue://**#read"] } }))
    await expect(caller.queue.enqueue("queue://a/b/c", "x")).rejects.toMatchObject({ code: 4009 })
    expect(await caller.queue.subscribe("queue://a/b/c")).toBeGreaterThan(0)
    await caller.close()
  })
})

describe("what changes on disk", () => {
  test("P-15: a set of the clients is swapped: new keys count, withdrawn ones do not, sessions go on", async () => {
    const inside = await letIn("tcp", sign(clients))
    const next = await newKey("RS256", "clients-2")
    put("clients.json", keySet(next))
    await until("the new key counts", async () => {
      const caller = await open("tcp", sign(next))
      const answer = await caller.notice.unsubscribeAll().then(
        () => true,
        () => false,
      )
      await caller.close()
      return answer
    })
    await keptOut("tcp", sign(clients))
    expect(await inside.notice.unsubscribeAll()).toBeNull()

    const told = broker.records.filter(record => record["msg"] === BROKEN).length
    put("clients.json", '{"keys": [')
    await until("it is said", () => broker.records.filter(record => record["msg"] === BROKEN).length > told)
    const after = await letIn("ws", sign(next))
    await Promise.all([after.close(), inside.close()])
    put("clients.json", keySet(clients))
  })

  test("P-15: an issuer that withdraws a key and cannot be reached keeps what was fetched, and it is logged", async () => {
    issuer.answer = response => response.writeHead(500).end("token=hidden-in-the-answer")
    // A key that is not known has the issuer asked again; whether the pause since the last time is over does not matter.
    await keptOut("tcp", sign(await newKey("EdDSA", "remote-2"), { claims: { iss: ISSUER } }))
    const caller = await letIn("tcp", sign(remote, { claims: { iss: ISSUER } }))
    await caller.close()
    expect(broker.text).not.toContain("hidden-in-the-answer")
  })

  test("C-11: whoever loses its family, or moves to another, is sent away; everybody else stays", async () => {
    const [leaver, mover, dev] = await Promise.all([
      letIn("tcp", sign(SECRET, { claims: { tid: "leaver" } })),
      letIn("ws", sign(SECRET, { claims: { tid: "acme" } })),
      letIn("ws", sign(SECRET)),
    ])
    put("families.json", "dev=1\nacme=1\n")
    await Promise.all([leaver.closed, mover.closed])
    expect(await dev.notice.unsubscribeAll()).toBeNull()
    await keptOut("tcp", sign(SECRET, { claims: { tid: "leaver" } }))
    const back = await letIn("tcp", sign(SECRET, { claims: { tid: "acme" } }))

    // A broken map changes nothing.
    const told = broker.records.filter(record => record["msg"] === BROKEN).length
    put("families.json", "dev=7")
    await until("it is said", () => broker.records.filter(record => record["msg"] === BROKEN).length > told)
    for (const caller of [dev, back]) expect(await caller.notice.unsubscribeAll()).toBeNull()
    await Promise.all([dev.close(), back.close()])
  })
})

describe("C-6: with FITZ_AUTH_REQUIRED=false", () => {
  test("anything is let in, with all permissions, in family 1", async () => {
    const free = await startProcess({
      FITZ_STORAGE_MODE: "memory",
      FITZ_AUTH_REQUIRED: "false",
      FITZ_JWT_HMAC_SECRET: SECRET,
      FITZ_ROUTE_FAMILIES: "1,2",
      FITZ_ROUTE_FAMILY_MAP: "acme=2",
      FITZ_DRAIN_GRACE_SECONDS: "0",
    })
    const callers = await Promise.all([
      openCaller("tcp", free.port, ""),
      openCaller("ws", free.port, "nonsense"),
      openCaller(
        "tcp",
        free.port,
        await sign("another secret", { claims: { tid: "acme", permissions: [] } }),
      ),
    ])
    const [first] = callers
    expect(await first!.queue.enqueue("queue://shared/by/all", "x")).toBeGreaterThan(0)
    for (const caller of callers) {
      const found = await caller.queue.reserve("queue://shared/by/all", { lease: 30 })
      expect(found).toHaveLength(1)
      const [message] = found
      await caller.queue.complete(message!.route, message!.id, message!.token)
      await caller.queue.enqueue("queue://shared/by/all", "x")
    }
    await Promise.all(callers.map(caller => caller.close()))
    expect(await free.kill("SIGTERM")).toBe(0)
    expect(free.records).toContainEqual(
      expect.objectContaining({ msg: "every program may do everything: FITZ_AUTH_REQUIRED=false" }),
    )
  })
})
