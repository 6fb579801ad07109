// Links within the page: real addresses that can be opened in another tab, followed without loading the page
// anew. It knows no view.

import type { ComponentChildren, JSX } from "preact"
import { addressTo, go } from "../state/navigation.ts"

interface LinkProps extends Omit<JSX.AnchorHTMLAttributes<HTMLAnchorElement>, "href"> {
  /** Relative to the page's root. */
  readonly to: string
  readonly children?: ComponentChildren
}

export function Link({ to, onClick, children, ...rest }: LinkProps) {
  return (
    <a
      {...rest}
      href={addressTo(to)}
      onClick={event => {
        onClick?.(event)
        const elsewhere =
          event.metaKey || event.ctrlKey || event.shiftKey || event.altKey || event.button !== 0
        if (elsewhere || event.defaultPrevented) return
        event.preventDefault()
        go(to)
      }}
    >
      {children}
    </a>
  )
}
