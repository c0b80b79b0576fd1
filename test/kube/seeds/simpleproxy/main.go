// SPDX-License-Identifier: Apache-2.0

// Command simpleproxy does what the nginx of a document's image does: it passes each request on to UPSTREAM at ROUTE, to
// which it adds what follows the first slash of the path.
package main

import (
	"fmt"
	"net/http"
	"net/http/httputil"
	"os"
	"strings"
)

func main() {
	upstream, route := os.Getenv("UPSTREAM"), os.Getenv("ROUTE")
	p := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		client, _, _ := strings.Cut(r.In.RemoteAddr, ":")
		r.Out.URL.Scheme, r.Out.URL.Host = "http", upstream
		r.Out.URL.Path = route + strings.TrimPrefix(r.In.URL.Path, "/")
		r.Out.Host = r.In.Host
		r.Out.Header.Set("X-Real-IP", client)
		r.Out.Header.Set("X-Forwarded-For", client)
	}}
	fmt.Fprintln(os.Stderr, http.ListenAndServe("0.0.0.0:80", p))
	os.Exit(1)
}
