// The operator's metrics (operator.md §8.2), under controller-runtime's names where it has them, so that existing dashboards
// fit. Only two gauges carry a broker's name; nothing here decides.

import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client"
import type { ApiCounters } from "../cluster/api.ts"
import type { BrokerCounters } from "../cluster/broker.ts"
import type { IoCounters } from "../cluster/observe.ts"
import { PHASES } from "../plan/types.ts"
import type { BrokerGauges } from "./brokers.ts"
import type { ControllerCounters } from "./controller.ts"
import type { DefinitionGauges } from "./definitions.ts"

const SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60]

export class Metrics {
  readonly registry = new Registry()
  private readonly counters = new Map<string, Counter>()
  private readonly gauges = new Map<string, Gauge>()
  private readonly histograms = new Map<string, Histogram>()
  private readonly brokerStates = new Map<string, string>()
  private readonly definitionStates = new Map<string, readonly { kind: string; state: string }[]>()
  /** When the passes that run now began, by controller. */
  private readonly unfinished = new Map<string, Set<{ readonly since: number }>>()

  constructor({ defaults = true }: { defaults?: boolean } = {}) {
    if (defaults) collectDefaultMetrics({ register: this.registry })
    this.describe()
  }

  private counter(name: string, help: string, labels: readonly string[]): void {
    this.counters.set(name, new Counter({ name, help, labelNames: [...labels], registers: [this.registry] }))
  }
  private gauge(
    name: string,
    help: string,
    labels: readonly string[],
    collect?: (gauge: Gauge) => void,
  ): void {
    const gauge: Gauge = new Gauge({
      name,
      help,
      labelNames: [...labels],
      registers: [this.registry],
      ...(collect === undefined
        ? {}
        : {
            collect(this: Gauge) {
              collect(this)
            },
          }),
    })
    this.gauges.set(name, gauge)
  }
  private histogram(name: string, help: string, labels: readonly string[]): void {
    this.histograms.set(
      name,
      new Histogram({ name, help, labelNames: [...labels], buckets: SECONDS, registers: [this.registry] }),
    )
  }

  private describe(): void {
    this.counter("controller_runtime_reconcile_total", "Passes by outcome.", ["controller", "result"])
    this.counter("controller_runtime_reconcile_errors_total", "Passes that failed.", ["controller"])
    this.counter("controller_runtime_terminal_reconcile_errors_total", "Passes that ended in a bug.", [
      "controller",
    ])
    this.histogram("controller_runtime_reconcile_time_seconds", "Length of a pass.", ["controller"])
    this.gauge("controller_runtime_active_workers", "Workers at work.", ["controller"])
    this.gauge("controller_runtime_max_concurrent_reconciles", "Workers there are.", ["controller"])
    this.gauge("workqueue_depth", "Keys that wait.", ["name"])
    this.counter("workqueue_adds_total", "Keys added.", ["name"])
    this.histogram("workqueue_queue_duration_seconds", "How long keys waited.", ["name"])
    this.histogram("workqueue_work_duration_seconds", "How long keys were worked on.", ["name"])
    this.gauge(
      "workqueue_unfinished_work_seconds",
      "Age of all passes that run, summed.",
      ["name"],
      gauge => {
        for (const [name, since] of this.unfinished)
          gauge.set(
            { name },
            [...since].reduce((sum, { since: at }) => sum + (performance.now() - at) / 1_000, 0),
          )
      },
    )
    this.gauge(
      "workqueue_longest_running_processor_seconds",
      "Age of the oldest pass that runs.",
      ["name"],
      gauge => {
        for (const [name, since] of this.unfinished)
          gauge.set(
            { name },
            [...since].reduce((most, { since: at }) => Math.max(most, (performance.now() - at) / 1_000), 0),
          )
      },
    )
    this.counter("workqueue_retries_total", "Keys tried again after a failure.", ["name"])
    this.counter("rest_client_requests_total", "Requests to the Kubernetes API.", ["code", "method"])
    this.gauge("leader_election_master_status", "1 where this process leads.", ["name"])
    this.counter("fitz_operator_reconcile_steady_state_total", "Passes that had nothing to write.", [
      "controller",
    ])
    this.gauge("fitz_operator_last_success_timestamp_seconds", "When a pass last did well.", ["controller"])
    this.counter("fitz_operator_writes_total", "Writes to the Kubernetes API.", ["kind", "verb"])
    this.counter("fitz_operator_watch_restarts_total", "Watches that had to begin again.", ["kind", "reason"])
    this.counter("fitz_operator_drift_corrected_total", "Changes by others that were taken back.", ["kind"])
    this.gauge("fitz_operator_brokers", "Brokers by state.", ["state"], gauge => {
      gauge.reset()
      for (const state of this.brokerStates.values()) gauge.inc({ state })
    })
    this.gauge("fitz_operator_definitions", "Definitions by state.", ["kind", "state"], gauge => {
      gauge.reset()
      for (const states of this.definitionStates.values()) for (const one of states) gauge.inc({ ...one })
    })
    this.counter("fitz_operator_broker_requests_total", "Requests to brokers.", ["method", "code"])
    this.gauge("fitz_operator_metrics_token_expiry_timestamp_seconds", "When the metrics token runs out.", [
      "namespace",
      "broker",
    ])
    this.gauge("fitz_operator_key_rotation_phase", "1 for the phase that the key rotation is in.", [
      "namespace",
      "broker",
      "phase",
    ])
  }

  readonly api: ApiCounters = {
    request: (method, status) => this.inc("rest_client_requests_total", { method, code: String(status) }),
  }
  readonly brokers: BrokerCounters = {
    request: (method, status) =>
      this.inc("fitz_operator_broker_requests_total", { method, code: String(status) }),
  }
  readonly io: IoCounters = {
    wrote: (kind, verb) => this.inc("fitz_operator_writes_total", { kind, verb }),
    drift: kind => this.inc("fitz_operator_drift_corrected_total", { kind }),
  }
  readonly states: BrokerGauges & DefinitionGauges = {
    brokerState: (key, state) => {
      if (state === null) this.brokerStates.delete(key)
      else this.brokerStates.set(key, state)
    },
    definitions: (key, states) => {
      if (states === null) this.definitionStates.delete(key)
      else this.definitionStates.set(key, states)
    },
    tokenExpiry: (namespace, broker, at) => {
      const gauge = this.gauges.get("fitz_operator_metrics_token_expiry_timestamp_seconds")!
      if (at === null) gauge.remove({ namespace, broker })
      else gauge.set({ namespace, broker }, at / 1_000)
    },
    rotationPhase: (namespace, broker, phase) => {
      const gauge = this.gauges.get("fitz_operator_key_rotation_phase")!
      for (const each of PHASES) {
        if (each === phase) gauge.set({ namespace, broker, phase: each }, 1)
        else gauge.remove({ namespace, broker, phase: each })
      }
    },
  }

  watchRestarted(kind: string, reason: string): void {
    this.inc("fitz_operator_watch_restarts_total", { kind, reason })
  }

  leading(is: boolean): void {
    this.gauges.get("leader_election_master_status")!.set({ name: "fitz-operator" }, is ? 1 : 0)
  }

  controller(name: string, workers: number): ControllerCounters {
    this.gauges.get("controller_runtime_max_concurrent_reconciles")!.set({ controller: name }, workers)
    const running = new Set<{ readonly since: number }>()
    this.unfinished.set(name, running)
    return {
      pass: (result, seconds) => {
        this.inc("controller_runtime_reconcile_total", { controller: name, result })
        if (result === "error") this.inc("controller_runtime_reconcile_errors_total", { controller: name })
        this.histograms
          .get("controller_runtime_reconcile_time_seconds")!
          .observe({ controller: name }, seconds)
        this.histograms.get("workqueue_work_duration_seconds")!.observe({ name }, seconds)
      },
      terminal: () => this.inc("controller_runtime_terminal_reconcile_errors_total", { controller: name }),
      active: count => {
        while (running.size > count) running.delete([...running][0]!)
        while (running.size < count) running.add({ since: performance.now() })
        this.gauges.get("controller_runtime_active_workers")!.set({ controller: name }, count)
      },
      steady: () => this.inc("fitz_operator_reconcile_steady_state_total", { controller: name }),
      succeeded: at =>
        this.gauges
          .get("fitz_operator_last_success_timestamp_seconds")!
          .set({ controller: name }, at / 1_000),
      depth: value => this.gauges.get("workqueue_depth")!.set({ name }, value),
      added: () => this.inc("workqueue_adds_total", { name }),
      retried: () => this.inc("workqueue_retries_total", { name }),
      waited: seconds => this.histograms.get("workqueue_queue_duration_seconds")!.observe({ name }, seconds),
    }
  }

  private inc(name: string, labels: Record<string, string>): void {
    this.counters.get(name)!.inc(labels)
  }
}
