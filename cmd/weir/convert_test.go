// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const oldFile = `
static_resources:
  clusters:
  - name: a
    connect_timeout: 1s
    hosts: [{socket_address: {address: 127.0.0.1, port_value: 1}}]
`

func TestConvert(t *testing.T) {
	write := func(name, text string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	tests := []struct {
		name, text string
		args       []string
		status     int
		out, errs  string // what they contain
	}{
		{"to YAML", oldFile, nil, 0, "    load_assignment:\n      cluster_name: a\n", ":6: static_resources.clusters[0] \"a\": hosts is now load_assignment: "},
		{"to JSON", oldFile, []string{"-o", "json"}, 0, `"load_assignment": {`, "hosts is now load_assignment"},
		{"aliases to JSON", "node: {metadata: {a: &x {b: c}, d: {<<: *x, e: f}}}\n", []string{"-o", "json"}, 0, "\"e\": \"f\",\n        \"b\": \"c\"", "is of v3 already\n"},
		{"of v3", "node: {id: a}\n", nil, 0, "node: {id: a}\n", "is of v3 already\n"},
		{"with a field that nobody knows", oldFile + "    hots: []\n", nil, 1, "hots: []", `unknown field "hots"`},
		{"with what has no meaning", oldFile + "rate_limit_service: {}\n", nil, 1, "", "the service is named by each filter"},
		{"to something else", oldFile, []string{"-o", "xml"}, 1, "", `--output "xml" is neither yaml nor json`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			status, out, errs := run(append([]string{"convert", write("envoy.yaml", tt.text)}, tt.args...)...)
			if status != tt.status || !strings.Contains(out, tt.out) || tt.out == "" && out != "" || !strings.Contains(errs, tt.errs) {
				t.Errorf("status %d, stdout\n%s\nstderr\n%s", status, out, errs)
			}
		})
	}
	if status, _, errs := run("convert", "/nonexistent"); status != 1 || !strings.Contains(errs, "read bootstrap: open /nonexistent") {
		t.Errorf("status %d, stderr %q", status, errs)
	}
}

// TestOldFilesAreReadAsTheyAre validates a file of v2, and finds in the log once what it became.
func TestOldFilesAreReadAsTheyAre(t *testing.T) {
	path := filepath.Join(t.TempDir(), "envoy.yaml")
	if err := os.WriteFile(path, []byte(oldFile), 0o600); err != nil {
		t.Fatal(err)
	}
	status, out, errs := run("proxy", "-c", path, "--mode", "validate")
	if status != 0 || !strings.HasSuffix(out, "OK\n") || strings.Count(errs, "hosts is now load_assignment") != 1 {
		t.Errorf("status %d, stdout %q, stderr %q", status, out, errs)
	}
}
