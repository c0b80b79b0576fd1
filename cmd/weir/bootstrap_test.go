// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"weir.dev/weir/cmd/weir/life"
	"weir.dev/weir/internal/logging"
)

// loadText loads pieces, and returns the addresses called and what went to the log.
func loadText(t *testing.T, pieces ...document) (calls []string, log string, err error) {
	t.Helper()
	var out bytes.Buffer
	logs, err := logging.New(&out, logging.Options{Format: "%l %v"})
	if err != nil {
		t.Fatal(err)
	}
	b, _, err := loadBootstrap(pieces, nil, logs.Logger("main"))
	return calledAddresses(b), out.String(), err
}

func example(t *testing.T, name string) document {
	t.Helper()
	data, err := os.ReadFile("../../examples/envoy/quickstart/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return document{name, data}
}

// TestQuickstartLoads loads the example, and finds that its edge has to drain before its sidecar.
func TestQuickstartLoads(t *testing.T) {
	var parts []life.Part
	for name, listens := range map[string]string{"sidecar.yaml": "127.0.0.1:8081", "edge.yaml": "127.0.0.1:8080"} {
		calls, log, err := loadText(t, example(t, name))
		if err != nil || log != "" {
			t.Fatalf("%s: %v, log %q", name, err, log)
		}
		parts = append(parts, life.Part{Name: name, Listens: []string{listens}, Calls: calls})
	}
	stages := life.Stages(parts)
	if len(stages) != 2 || parts[stages[0][0]].Name != "edge.yaml" {
		t.Errorf("drains in stages %v of %+v", stages, parts)
	}
}

func TestLoadRefuses(t *testing.T) {
	edge := example(t, "edge.yaml")
	tests := []struct{ name, old, new, want string }{
		{"a misspelt field", "virtual_hosts:", "virtual_host:", `unknown field "virtual_host" (did you mean "virtual_hosts"?)`},
		{"a name that leads nowhere", "route: {cluster: orders", "route: {cluster: order", `there is no cluster "order"`},
		{"a number for a duration", "timeout: 15s", "timeout: 15", "15s"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before, after, ok := bytes.Cut(edge.data, []byte(tt.old))
			if !ok {
				t.Fatalf("%q does not occur", tt.old)
			}
			_, _, err := loadText(t, document{"edge.yaml", []byte(string(before) + tt.new + string(after))})
			if err == nil || !strings.HasPrefix(err.Error(), "edge.yaml:") || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want edge.yaml, a line and %q", err, tt.want)
			}
		})
	}
}

func TestCalledAddresses(t *testing.T) {
	calls, _, err := loadText(t, document{"a.yaml", []byte(`
static_resources:
  clusters:
    - name: a
      load_assignment:
        cluster_name: a
        endpoints:
          - lb_endpoints:
              - endpoint: {address: {socket_address: {address: "::1", port_value: 80}}}
              - endpoint: {address: {socket_address: {address: "::1", port_value: 80}}}
              - endpoint: {address: {pipe: {path: /run/a.sock}}}
    - name: b
      load_assignment:
        cluster_name: b
`)})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"[::1]:80", "/run/a.sock"}, calls); d != "" {
		t.Errorf("wrong addresses (-want +got):\n%s", d)
	}
}
