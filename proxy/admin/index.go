// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"html/template"
	"net/http"
)

const indexPage = `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Weir Admin</title>
<style>
body { font-family: sans-serif; font-size: medium; }
table { border-collapse: collapse; }
td, th { padding: 3px 8px; text-align: left; vertical-align: top; }
tr:nth-child(even) { background: #eee; }
form { margin: 0; }
</style>
</head>
<body>
<table>
<thead><tr><th>Command</th><th>Description</th></tr></thead>
<tbody>
{{- range .}}
<tr><td>{{if .Post}}<form action="{{.Path}}" method="post"><button>{{.Name}}</button></form>{{else}}<a href="{{.Path}}">{{.Name}}</a>{{end}}</td><td>{{.Help}}</td></tr>
{{- end}}
</tbody>
</table>
</body>
</html>
`

// serveIndex is the home page: a link to what reads, a button for what changes.
func (a *Admin) serveIndex(w *answer, _ *http.Request) {
	type row struct {
		Path, Name, Help string
		Post             bool
	}
	var rows []row
	for _, e := range a.endpoints {
		// Relative links work behind a proxy that serves the page below a path of its own.
		if e.path != "/" {
			rows = append(rows, row{Path: e.path[1:], Name: e.path[1:], Help: e.help, Post: e.changes})
		}
	}
	t, err := template.New("index").Parse(indexPage)
	if err == nil {
		w.header.Set("Content-Type", "text/html; charset=UTF-8")
		w.header.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'")
		err = t.Execute(&w.body, rows)
	}
	if err != nil {
		w.fail(http.StatusInternalServerError, "write page: %v\n", err)
	}
}
