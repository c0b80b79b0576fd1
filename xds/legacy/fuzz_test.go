// SPDX-License-Identifier: Apache-2.0

package legacy_test

import (
	"os"
	"path/filepath"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"

	"weir.dev/weir/internal/golden"
	"weir.dev/weir/xds"
	"weir.dev/weir/xds/load"
)

// FuzzConvert proves that no document of any version panics or costs without bound,
// and that what is converted is of v3.
func FuzzConvert(f *testing.F) {
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range golden.Parse(string(data)).Files {
			if file.Name == "envoy.yaml" || file.Name == "envoy.json" {
				f.Add([]byte(file.Data))
			}
		}
	}
	f.Add([]byte("static_resources: {clusters: [&a {name: a, hosts: [*a], <<: *a}]}"))
	limits := load.Limits{Bytes: 1 << 16, Nodes: 10_000, Problems: 20}
	f.Fuzz(func(t *testing.T, data []byte) {
		notes := 0
		out, problems := load.Convert("fuzz", data, &bootstrapv3.Bootstrap{}, load.JSON, load.Options{Limits: limits, Note: func(n xds.Note) {
			notes++
			_ = n.String()
		}})
		if notes > limits.Problems+1 || len(problems) > 3*(limits.Problems+1) {
			t.Errorf("%d notes, %d problems", notes, len(problems))
		}
		if out == nil || xds.HasErrors(problems) {
			return
		}
		if _, again := load.Convert("again", out, &bootstrapv3.Bootstrap{}, load.JSON, load.Options{Note: func(n xds.Note) {
			t.Errorf("a note on what was converted: %v", n)
		}}); xds.HasErrors(again) {
			t.Errorf("converted to what is refused: %v\n%s", again, out)
		}
	})
}
