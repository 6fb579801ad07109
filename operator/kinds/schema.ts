// Building blocks of the resources' schemas: text with a bound, quantities, durations, rules in CEL.
// A schema here must stay convertible to a CRD (crd.ts refuses the rest) and never hold a transform.

import { z } from "zod"

/** A rule that the API server judges. The id opens its message, so that a refusal can be looked up. */
export interface Rule {
  readonly id: string
  readonly rule: string
  readonly message: string
}

export interface About {
  /** What `kubectl explain` prints. */
  readonly about: string
  readonly rules?: readonly Rule[]
  /** Lists of objects that are maps by these keys. */
  readonly keys?: readonly string[]
  /** The value may be absent although fields inside have defaults: absence itself means something. */
  readonly absence?: true
}

function metaOf({ about, rules, keys, absence }: About): Record<string, unknown> {
  return {
    description: about,
    ...(rules === undefined
      ? {}
      : {
          "x-kubernetes-validations": rules.map(({ id, rule, message }) => ({
            rule,
            message: `${id}: ${message}`,
          })),
        }),
    ...(keys === undefined ? {} : { "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": keys }),
    ...(absence === undefined ? {} : { "x-fitz-absence": true }),
  }
}

/** Puts words and rules on a schema, outermost wrapper included. */
export function say<S extends z.ZodType>(schema: S, about: string | About): S {
  return schema.meta(metaOf(typeof about === "string" ? { about } : about)) as S
}

export const TEXT_MAX = 253
export const LIST_MAX = 32

export function text(max = TEXT_MAX, min = 0): z.ZodString {
  return min > 0 ? z.string().min(min).max(max) : z.string().max(max)
}

export function whole(min: number, max: number): z.ZodNumber {
  return z.number().int().min(min).max(max)
}

export function list<S extends z.ZodType>(item: S, max = LIST_MAX): z.ZodArray<S> {
  return z.array(item).max(max)
}

/** A map of texts. The bound is on the number of entries and on each value. */
export function map(max = LIST_MAX, valueMax = TEXT_MAX): z.ZodRecord<z.ZodString, z.ZodString> {
  return z.record(z.string(), text(valueMax)).meta({ maxProperties: max })
}

/** A value whose shape belongs to Kubernetes and is passed on as it is. */
export function opaque(): z.ZodObject<Record<never, never>, z.core.$loose> {
  return z.looseObject({})
}

const QUANTITY_RULE: Rule = {
  id: "G-01",
  rule: "isQuantity(string(self))",
  message: "must be a quantity such as 10Gi, 500m or 2",
}

/** The one int-or-string there is: a quantity, never rewritten. */
export function quantity(about: string, rules: readonly Rule[] = [QUANTITY_RULE]): z.ZodType<Quantity> {
  return z.any().meta({
    ...metaOf({ about, rules }),
    "x-kubernetes-int-or-string": true,
    maxLength: 32,
  }) as unknown as z.ZodType<Quantity>
}
export type Quantity = string | number

export const DURATION_PATTERN = /^([0-9]{1,5}(h|m|s)){1,3}$/

export function duration(): z.ZodString {
  return z.string().max(18).regex(DURATION_PATTERN)
}

/** The rule that bounds a duration. */
export function between(id: string, least: string, most: string): Rule {
  return {
    id,
    rule: `duration(self) >= duration('${least}') && duration(self) <= duration('${most}')`,
    message: `must lie between ${least} and ${most}`,
  }
}

export function immutable(id: string): Rule {
  return { id, rule: "self == oldSelf", message: "cannot be changed; create a new object instead" }
}
