// SPDX-License-Identifier: Apache-2.0

// Command flask answers as the application of a document of Envoy's version 1 does, which is written in Python with Flask.
package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
)

func main() {
	http.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "Hello, World!") })
	http.HandleFunc("GET /healthy_check", func(w http.ResponseWriter, r *http.Request) {
		name, err := os.Hostname()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		found, err := net.DefaultResolver.LookupHost(r.Context(), name)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		fmt.Fprintf(w, "I am fine! <service_name: %s, ip: %s>", name, found[0])
	})
	fmt.Fprintln(os.Stderr, http.ListenAndServe("0.0.0.0:5000", nil))
	os.Exit(1)
}
