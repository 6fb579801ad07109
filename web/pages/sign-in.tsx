// Sign-in: a token or an API key, pasted. It goes into a header of each request and into this tab's storage, never
// into an address, and the field does not show it.

import { useId, useState } from "preact/hooks"
import icon from "../icons/fitz.svg"
import { refreshAll } from "../state/query.ts"
import { session } from "../state/session.ts"

export function SignInForm({ onDone }: { readonly onDone?: () => void }) {
  const [text, setText] = useState("")
  const [mistake, setMistake] = useState<string | null>(null)
  const [busy, setBusy] = useState(false)
  const id = useId()
  const submit = async (): Promise<void> => {
    setBusy(true)
    setMistake(null)
    const problem = await session.signIn(text)
    setBusy(false)
    setMistake(problem)
    if (problem !== null) return
    setText("")
    refreshAll()
    onDone?.()
  }
  return (
    <>
      <div class="field">
        <label for={id}>Token or API key</label>
        <textarea
          id={id}
          class="input veiled"
          autocomplete="off"
          autocapitalize="off"
          spellcheck={false}
          placeholder="Paste it here"
          value={text}
          aria-invalid={mistake !== null}
          aria-describedby={`${id}-about`}
          ref={element => {
            if (text === "" && mistake === null && document.activeElement === document.body) element?.focus()
          }}
          onInput={event => setText(event.currentTarget.value)}
          onKeyDown={event => {
            if (event.key !== "Enter" || event.shiftKey) return
            event.preventDefault()
            void submit()
          }}
        />
        <small id={`${id}-about`}>Kept in this tab only, until you close it or sign out.</small>
      </div>
      {mistake !== null && (
        <p class="mistake" role="alert">
          {mistake}
        </p>
      )}
      <button
        type="button"
        class="button main-one"
        disabled={busy || text.trim() === ""}
        onClick={() => void submit()}
      >
        {busy ? "Asking the broker\u2026" : "Sign in"}
      </button>
    </>
  )
}

export function SignIn({ why }: { readonly why: string | null }) {
  return (
    <main class="gate">
      <form
        onSubmit={event => {
          event.preventDefault()
        }}
      >
        <span class="brand">
          <img src={icon} alt="" /> Fitz
        </span>
        <div>
          <h1>See this broker</h1>
          <p>
            With a token that has <code>admin:read</code>. Commands need <code>admin:write</code>, stored data
            needs <code>data:read</code>.
          </p>
        </div>
        {why !== null && (
          <p class="why" role="status">
            {why}
          </p>
        )}
        <SignInForm />
        <p>
          At a terminal beside a development broker: <code>npx fitz token --permission admin data:read</code>
        </p>
      </form>
    </main>
  )
}
