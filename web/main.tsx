// Starts the page: styles, the session of this tab, the first drawing.
// Nothing else happens here.

import "./style/tokens.css"
import "./style/base.css"
import "./style/parts.css"
import "./style/views.css"
import "uplot/dist/uPlot.min.css"
import { render } from "preact"
import { App } from "./app.tsx"
import { session } from "./data/session.ts"

void session.begin()
render(<App />, document.getElementById("page")!)
