// SPDX-License-Identifier: Apache-2.0

package legacy_test

import (
	"slices"
	"strings"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/internal/golden"
	"weir.dev/weir/xds"
	"weir.dev/weir/xds/load"
)

// TestConvert converts what each archive has as envoy.yaml or envoy.json, and compares
// the result, the notes and the problems. What is converted loads as the original does.
func TestConvert(t *testing.T) {
	golden.Run(t, "testdata/*.txtar", func(t *testing.T, a *golden.Archive) map[string]string {
		name := "envoy.yaml"
		in, ok := a.Get(name)
		if !ok {
			name = "envoy.json"
			if in, ok = a.Get(name); !ok {
				t.Fatal("no envoy.yaml and no envoy.json")
			}
		}
		var notes []string
		opts := load.Options{Note: func(n xds.Note) { notes = append(notes, n.String()+"\n") }}
		first := &bootstrapv3.Bootstrap{}
		out, problems := load.Convert(name, []byte(in), first, load.YAML, opts)
		want := map[string]string{"notes": strings.Join(notes, ""), "v3.yaml": string(out), "problems": ""}
		for _, p := range problems {
			want["problems"] += p.Error() + "\n"
		}
		for _, f := range []string{"notes", "v3.yaml", "problems"} {
			if _, ok := a.Get(f); !ok && want[f] == "" {
				delete(want, f)
			}
		}
		if out != nil {
			sameAgain(t, first, out, load.YAML, problems)
			again, _ := load.Convert(name, []byte(in), &bootstrapv3.Bootstrap{}, load.JSON, load.Options{})
			sameAgain(t, first, again, load.JSON, problems)
		}
		return want
	})
}

// sameAgain reads what was converted, which must be v3 already and mean the same.
func sameAgain(t *testing.T, first *bootstrapv3.Bootstrap, out []byte, format load.Format, problems []xds.Problem) {
	t.Helper()
	second := &bootstrapv3.Bootstrap{}
	_, again := load.Message("v3."+string(format), out, second, load.Options{Note: func(n xds.Note) { t.Errorf("%s: a note on what was converted: %v", format, n) }})
	reasons := func(ps []xds.Problem) (out []string) {
		for _, p := range ps {
			out = append(out, p.Path+": "+p.Reason)
		}
		slices.Sort(out)
		return out
	}
	if !slices.Equal(reasons(problems), reasons(again)) {
		t.Errorf("%s: problems are\n%q, and were\n%q\n%s", format, reasons(again), reasons(problems), out)
	}
	if !proto.Equal(first, second) {
		t.Errorf("%s: means another thing than what it was converted from:\n%s", format, out)
	}
}
