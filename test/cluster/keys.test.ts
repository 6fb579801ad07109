// Keys and tokens with a real broker: rotation in acknowledged phases while Prometheus scrapes, revocation, lost keys, what a
// token may not do, and that no secret value is ever told.

import { importJWK, type JWK, SignJWT } from "jose"
import { afterEach, expect, test } from "vitest"
import { observeBroker } from "../../operator/cluster/observe.ts"
import { decoded } from "../../operator/cluster/secrets.ts"
import { planBroker } from "../../operator/plan/broker.ts"
import { at, textAt } from "../../operator/plan/object.ts"
import { conditionOf, until } from "./kit/scenario.ts"
import { broker, newStage, type Stage } from "./kit/stage.ts"

const open: Stage[] = []
afterEach(async () => {
  for (const stage of open.splice(0)) await stage.end()
})
async function begin(spec: Record<string, unknown> = {}): Promise<Stage> {
  const stage = await newStage(spec)
  open.push(stage)
  return stage
}

const HOUR = 3_600_000

async function phase(stage: Stage): Promise<string | null> {
  return textAt(await stage.scenario.get("broker", "main"), "status", "auth", "phase")
}
async function metricsToken(stage: Stage): Promise<string> {
  return decoded(await stage.scenario.get("secret", "main-metrics-token"))["token"]!
}
async function activeKey(stage: Stage): Promise<JWK> {
  return JSON.parse(decoded(await stage.scenario.get("secret", "main-signing-keys"))["active.jwk"]!) as JWK
}
/** A token that an issuer with that key would give out, for a long time. */
async function longToken(stage: Stage, jwk: JWK): Promise<string> {
  const now = Math.floor(stage.scenario.world.now() / 1_000)
  return new SignJWT({ permissions: ["admin:read"] })
    .setProtectedHeader({ alg: jwk.alg!, kid: jwk.kid! })
    .setSubject("issuer")
    .setAudience("fitz")
    .setIssuedAt(now - 300)
    .setExpirationTime(now + 90 * 86_400)
    .sign(await importJWK(jwk, jwk.alg))
}
const status = async (stage: Stage, path: string, token: string): Promise<number> =>
  (await stage.pod.ask(path, { token })).status

/** Whether the broker takes a scrape with that token. A broker that serves no metrics yet is asked whether it knows the key. */
async function scrapes(stage: Stage, token: string): Promise<boolean> {
  const scraped = await status(stage, "/metrics", token)
  return scraped === 404 ? (await status(stage, "/api/v1/stats", token)) === 403 : scraped === 200
}

test("T-19, X-03: a rotation in acknowledged phases: no scrape fails, old and new are accepted, the old one ends only when unused", async () => {
  const stage = await begin()
  const { scenario } = stage
  const oldKey = await activeKey(stage)
  const old = await longToken(stage, oldKey)
  expect(await status(stage, "/api/v1/stats", old)).toBe(200)

  // A scraper reads its Secret late: it goes on with the last token for a while.
  let held = await metricsToken(stage)
  let count = 0
  const scrape = async (): Promise<void> => {
    expect(await scrapes(stage, held)).toBe(true)
    held = await metricsToken(stage)
    count++
  }
  await scenario.put(broker({}, { "fitz.dev/rotate-keys": "1" }))
  const seen = new Set<string>()
  await until("the new key signs and the old one is still accepted", async () => {
    await stage.advance(10_000)
    await scrape()
    const now = await phase(stage)
    if (now !== null) seen.add(now)
    return now === "Retire"
  })
  expect(seen.has("Propagate")).toBe(true)
  await stage.pod.sync()
  const newKey = await activeKey(stage)
  expect(newKey.kid).not.toBe(oldKey.kid)
  expect(newKey.alg).toBe("ES256")
  const fresh = await longToken(stage, newKey)
  expect(await status(stage, "/api/v1/stats", old)).toBe(200)
  expect(await status(stage, "/api/v1/stats", fresh)).toBe(200)

  // Six days and a half later somebody still uses the old key.
  await stage.advance(156 * HOUR)
  expect(await status(stage, "/api/v1/stats", old)).toBe(200)
  await stage.advance(13 * HOUR)
  await until("the old key is seen to be in use", async () => {
    await stage.advance(10_000)
    return conditionOf(await scenario.get("broker", "main"), "AuthReady")?.reason === "OldKeyStillUsed"
  })
  expect(await phase(stage)).toBe("Retire")
  expect(await status(stage, "/api/v1/stats", fresh)).toBe(200)
  await stage.advance(25 * HOUR)
  await until("the old key is retired", async () => {
    await stage.advance(10_000)
    return (await phase(stage)) === "Steady"
  })
  await until("the broker refuses the old key", async () => {
    await stage.pod.sync()
    return (await status(stage, "/api/v1/stats", old)) === 401
  })
  expect(await status(stage, "/api/v1/stats", fresh)).toBe(200)
  held = await metricsToken(stage)
  await scrape()
  expect(count).toBeGreaterThan(3)
  expect((await scenario.get("broker", "main"))?.metadata.generation).toBe(1)
  const events = await scenario.events("main")
  for (const reason of ["KeyRotationStarted", "KeyActivated", "OldKeyStillUsed", "KeyRetired"])
    expect(events).toContain(reason)
  // The annotation has acted; it does not act again.
  await stage.advance(60_000)
  await scenario.quiet(stage.running)
  expect(await phase(stage)).toBe("Steady")
})

test("X-03: a rotation goes on although the operator dies after each of its writes", async () => {
  const stage = await begin()
  const { scenario } = stage
  await stage.running.stop()
  const oldKid = (await activeKey(stage)).kid
  await scenario.put(broker({}, { "fitz.dev/rotate-keys": "1" }))
  let lives = 0
  await until(
    "the rotation has come to its last phase",
    async () => {
      lives++
      await stage.advance(10_000)
      const running = await scenario.start({ resolve: stage.pods.resolve, dieAfter: 1 })
      await until("it has written or has nothing to write", async () => {
        if (running.counted.dead) return true
        const { operator } = running
        return operator.brokers.queue.idle && operator.topology.queue.idle
      })
      running.kill()
      return (await phase(stage)) === "Retire"
    },
    150_000,
  )
  expect(lives).toBeGreaterThan(4)
  expect((await activeKey(stage)).kid).not.toBe(oldKid)
  await stage.pod.sync()
  expect(await scrapes(stage, await metricsToken(stage))).toBe(true)
})

test("a revoked key ends at once; the operator goes on with the new one", async () => {
  const stage = await begin()
  const { scenario } = stage
  const old = await longToken(stage, await activeKey(stage))
  await scenario.put(broker({}, { "fitz.dev/revoke-keys": "now" }))
  await until("the new key signs", async () => {
    await stage.advance(10_000)
    return (
      (await phase(stage)) === "Steady" &&
      (await activeKey(stage)).kid ===
        textAt(await scenario.get("broker", "main"), "status", "auth", "activeKid")
    )
  })
  await until("the broker refuses the old key", async () => {
    await stage.pod.sync()
    return (await status(stage, "/api/v1/stats", old)) === 401
  })
  await scenario.condition("broker", "main", "BrokerReachable", "Answering")
  expect(await scrapes(stage, await metricsToken(stage))).toBe(true)
  expect(await scenario.events("main")).toContain("KeysRevoked")
})

test("signing keys that somebody deletes are made anew, and that is told", async () => {
  const stage = await begin()
  const { scenario } = stage
  const before = (await activeKey(stage)).kid
  await scenario.delete("secret", "main-signing-keys")
  await stage.advance(31 * 60_000)
  await until("there is a new key", async () => (await activeKey(stage)).kid !== before)
  await until("an event tells", async () => (await scenario.events("main")).includes("KeysRevoked"))
})

test("the metrics token is renewed daily, long before it ends", async () => {
  const stage = await begin()
  const before = await metricsToken(stage)
  await stage.advance(25 * HOUR)
  await until("there is a new token", async () => (await metricsToken(stage)) !== before)
  expect(await scrapes(stage, before)).toBe(true)
  expect(await scrapes(stage, await metricsToken(stage))).toBe(true)
})

test("X-03: clocks five minutes apart, either way, are borne", async () => {
  const stage = await begin()
  for (const apart of [300_000, -300_000]) {
    stage.pod.moveClock(stage.scenario.world.offset + apart)
    await until("the broker's clock is moved", async () => (await status(stage, "/healthz", "")) === 200)
    expect(await status(stage, "/api/v1/stats", await stage.token())).toBe(200)
    expect(await scrapes(stage, await metricsToken(stage))).toBe(true)
  }
})

test("X-04: the metrics token scrapes and does nothing else", async () => {
  const stage = await begin()
  const token = await metricsToken(stage)
  expect(await scrapes(stage, token)).toBe(true)
  expect(await status(stage, "/api/v1/stats", token)).toBe(403)
  expect(await status(stage, "/api/v1/runtime/auth", token)).toBe(403)
  const client = await longToken(stage, await activeKey(stage))
  expect(await status(stage, "/api/v1/stats", client)).toBe(200)
  const bare = await new SignJWT({ permissions: ["queue://**#*"] })
    .setProtectedHeader({ alg: "ES256", kid: (await activeKey(stage)).kid! })
    .setAudience("fitz")
    .setExpirationTime(Math.floor(stage.scenario.world.now() / 1_000) + 600)
    .sign(await importJWK(await activeKey(stage), "ES256"))
  expect([403, 404]).toContain(await status(stage, "/metrics", bare))
})

test("X-04: no secret value is in logs, events, status, plans, the pod's template or the process's environment", async () => {
  const stage = await begin()
  const { scenario, running } = stage
  await scenario.put(broker({}, { "fitz.dev/rotate-keys": "1" }))
  await until("a rotation is under way", async () => {
    await stage.advance(10_000)
    return (await phase(stage)) === "Retire"
  })
  const secrets: string[] = []
  for (const secret of await scenario.list("secret"))
    for (const value of Object.values(decoded(secret))) {
      if (value.length < 20) continue
      secrets.push(value)
      for (const [, inner] of value.matchAll(/"d":"([^"]+)"/g)) secrets.push(inner!)
      for (const line of value.split("\n")) if (line.length > 40 && !line.startsWith("{")) secrets.push(line)
    }
  expect(secrets.length).toBeGreaterThan(5)
  const owner = (await scenario.get("broker", "main"))!
  const observed = await observeBroker(running.operator.io, owner, new AbortController().signal)
  const told = JSON.stringify([
    scenario.world.records,
    await scenario.list("event"),
    owner,
    observed,
    planBroker(observed),
    await scenario.list("statefulSet"),
    await scenario.list("configMap"),
    await running.operator.metrics.registry.metrics(),
    stage.pod.process?.records,
  ])
  const publicSet = decoded(await scenario.get("secret", "main-jwks"))["jwks.json"]!
  for (const value of secrets) {
    if (value === publicSet || value === (await activeKey(stage)).kid) continue
    expect(told.includes(value), `${value.slice(0, 6)}…`).toBe(false)
  }
})

test("T-24: HS256 clients stay as they are while the operator signs with its own key; admin by HS256 only if allowed", async () => {
  const stage = await begin()
  const { scenario } = stage
  const secret = "an old shared secret, long enough to be one"
  await scenario.put({
    apiVersion: "v1",
    kind: "Secret",
    metadata: { name: "legacy" },
    stringData: { secret },
  } as never)
  const existingSecret = { name: "legacy", key: "secret", type: "HS256" }
  const hs256 = async (permissions: string[]): Promise<string> =>
    new SignJWT({ permissions })
      .setProtectedHeader({ alg: "HS256" })
      .setAudience("fitz")
      .setExpirationTime(Math.floor(scenario.world.now() / 1_000) + 3_600)
      .sign(new TextEncoder().encode(secret))
  for (const allowAdmin of [false, true]) {
    await scenario.put(broker({ auth: { existingSecret: { ...existingSecret, allowAdmin } } }))
    await until("the template knows", async () =>
      JSON.stringify(at(await scenario.get("statefulSet", "main"), "spec", "template")).includes(
        `"name":"FITZ_JWT_CLIENT_ALLOW_ADMIN","value":"${allowAdmin}"`,
      ),
    )
    await stage.pod.restart()
    expect(await status(stage, "/api/v1/stats", await hs256(["admin:read"]))).toBe(allowAdmin ? 200 : 403)
    expect(await status(stage, "/api/v1/stats", await stage.token())).toBe(200)
  }
  expect(
    textAt(await scenario.condition("broker", "main", "AuthReady", "KeysLoaded"), "status", "auth", "source"),
  ).toBe("HS256")
})
