// Fencing tokens from blocks that the store sets aside: they rise from block to block, more are asked for in good
// time and once, and where there are none that is said and not made up (docs/PROTOCOL.md, L-7).

import { expect, test } from "vitest"
import { FenceBlocks } from "../../broker/fences.ts"
import { TestBroker } from "../kit/broker.ts"

const HALF = 8_388_608

test("L-7: tokens rise from block to block, and a further block is asked for once, at half", () => {
  let asked = 0
  const fences = new FenceBlocks(() => asked++)
  expect(fences.next()).toBeNull()
  fences.add(101, HALF + 2)
  expect([fences.next(), fences.next(), fences.next()]).toEqual([101, 102, 103])
  expect(asked).toBe(0)
  expect(fences.next()).toBe(104)
  expect(asked).toBe(1)
  fences.next()
  expect(asked).toBe(1)
  // It comes, and is begun when the first one is used up.
  fences.add(20_000_001, 3)
  let last = 0
  let fell = false
  for (let token = fences.next(); token !== null; token = fences.next()) {
    fell ||= token <= last
    last = token
  }
  expect(fell).toBe(false)
  expect(last).toBe(20_000_003)
  expect(asked).toBe(2)
  fences.add(30_000_001, 1)
  expect([fences.next(), fences.next()]).toEqual([30_000_001, null])
})

test("L-7, E-7: without tokens a free lease is refused and stays free, and one that is held is still known", async () => {
  const broker = new TestBroker()
  const [caller, other] = [broker.enter(), broker.enter()]
  const held = await caller.lease.acquire("lease://realm/area/held", 60)
  broker.fencesOut = true
  const refused = { code: 5008, message: "5008 no fencing tokens: the disk is full" }
  await expect(caller.lease.acquire("lease://realm/area/free", 60)).rejects.toMatchObject(refused)
  await expect(other.lease.acquire("lease://realm/area/held", 60, 5)).rejects.toMatchObject(refused)
  expect(await caller.lease.acquire("lease://realm/area/held", 60)).toEqual({ kind: 1, token: held.token })
  expect(await caller.lease.renew("lease://realm/area/held", held.token, 60)).toBe(held.token)
  expect((await other.lease.query("lease://realm/area/free")).holder).toBeNull()
  expect(await other.lease.query("lease://realm/area/held")).toMatchObject({ waiters: 0 })
  expect(broker.world.records).toEqual([])
  broker.fencesOut = false
  const free = await other.lease.acquire("lease://realm/area/free", 60)
  expect(free.token).toBeGreaterThan(held.token)
  broker.close()
})
