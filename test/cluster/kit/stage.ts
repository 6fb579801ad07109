// A scenario with a real broker process behind its FitzBroker, and the two clocks moved together. What the broker answers is
// its own: nothing here speaks for it.

import { operatorToken, type Signer, signerOf } from "../../../operator/cluster/secrets.ts"
import type { KubeObject } from "../../../operator/plan/object.ts"
import { type BrokerPod, BrokerPods } from "./brokerpod.ts"
import {
  conditionOf,
  newScenario,
  type Running,
  type Scenario,
  type ScenarioOptions,
  until,
} from "./scenario.ts"

export class Stage {
  readonly scenario: Scenario
  readonly pods: BrokerPods
  readonly pod: BrokerPod
  readonly running: Running

  constructor(scenario: Scenario, pods: BrokerPods, pod: BrokerPod, running: Running) {
    this.scenario = scenario
    this.pods = pods
    this.pod = pod
    this.running = running
  }

  /** Moves the operator's and the broker's clock on, and brings the mounted files up to date. */
  async advance(ms: number): Promise<void> {
    await this.pod.sync()
    this.pod.moveClock(this.scenario.world.offset + ms)
    this.scenario.world.advance(ms)
  }

  async signer(): Promise<Signer> {
    const signer = signerOf(await this.scenario.get("secret", "main-signing-keys"))
    if (signer === null) throw new Error("there is no signing key")
    return signer
  }

  async uid(): Promise<string> {
    return (await this.scenario.get("broker", "main"))?.metadata.uid ?? ""
  }

  /** A token as the operator makes them. */
  async token(): Promise<string> {
    return operatorToken(await this.signer(), await this.uid(), this.scenario.world.now())
  }

  async end(): Promise<void> {
    await this.scenario.end()
    await this.pods.end()
  }
}

export const broker = (
  spec: Record<string, unknown> = {},
  annotations?: Record<string, string>,
): KubeObject => ({
  apiVersion: "fitz.dev/v1alpha1",
  kind: "FitzBroker",
  metadata: { name: "main", ...(annotations === undefined ? {} : { annotations }) },
  spec: { storage: { size: "1Gi" }, ...spec },
})

export async function newStage(
  spec: Record<string, unknown> = {},
  options: ScenarioOptions = {},
): Promise<Stage> {
  const scenario = await newScenario(options)
  const pods = new BrokerPods(scenario)
  const running = await scenario.start({ resolve: pods.resolve })
  await scenario.put(broker(spec))
  await scenario.ready("main")
  const pod = await pods.start("main")
  await until("the operator has met the broker", async () => {
    scenario.world.advance(2_000)
    return conditionOf(await scenario.get("broker", "main"), "BrokerReachable")?.reason === "Answering"
  })
  pod.moveClock(scenario.world.offset)
  return new Stage(scenario, pods, pod, running)
}
