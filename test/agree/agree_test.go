// SPDX-License-Identifier: Apache-2.0

// Package agree sees that the two houses agree: what the control plane makes of objects, whatever stands in them, is
// what proxies take. Of what they refuse, no object's status would tell.
package agree

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"sigs.k8s.io/yaml"

	"weir.dev/weir/control"
	"weir.dev/weir/control/offline"
	"weir.dev/weir/control/policy/envoygateway"
	"weir.dev/weir/ext/all"
	"weir.dev/weir/internal/golden"
	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy"
	"weir.dev/weir/xds"
)

func TestMain(m *testing.M) { leak.Main(m) }

// hostile are values that nobody should write, and somebody does.
func hostile(old any) []any {
	switch old.(type) {
	case float64:
		return []any{-1, 0, 1, 99, 600, 65536, 1 << 31, 1 << 40, 1.5}
	case string:
		return []any{
			"", "a b", "a\nb", "%", "é", "(", strings.Repeat("x", 5000), "*", ":path", "host", "-1", "99999999999999s", "0s", "a/b", "http://[", "\x00", "127.0.0.1/99",
			"%REQ(a b)%", "$", `\`, "{x}", "a{1000}{1000}",
		}
	}
	return nil
}

// TestHostile puts hostile values in the place of others in the objects that translation is tested with: of a field of a
// kind one or two in each file, and in the long run others in others.
func TestHostile(t *testing.T) {
	files, err := filepath.Glob("../../control/*/*/testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	every := uint32(12)
	if testing.Short() {
		every = 60
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			objects := read(t, file)
			before := refused(t, objects)
			for _, text := range before {
				t.Error(text)
			}
			for _, o := range objects {
				kind, _ := o["kind"].(string)
				leaves(o["spec"], kind, nil, func(path string, old any, set func(any)) {
					list := hostile(old)
					h := fnv.New32a()
					_, _ = h.Write([]byte(filepath.Base(file) + path))
					if n := h.Sum32(); len(list) == 0 || n%every != 0 {
						return
					} else {
						set(list[int(n/every)%len(list)])
					}
					for _, text := range refused(t, objects) {
						// A record's format may have operators that the control plane does not know.
						if strings.Contains(path, "accessLog.settings") && strings.Contains(text, "access_log") {
							continue
						}
						if !slices.Contains(before, text) {
							t.Errorf("%s: %.200s", path, text)
						}
					}
					set(old)
				})
			}
		})
	}
}

// read returns the objects of a golden.
func read(t *testing.T, file string) (out []map[string]any) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range golden.Parse(string(text)).Files {
		if !strings.HasSuffix(f.Name, ".yaml") {
			continue
		}
		for doc := range strings.SplitSeq(f.Data, "\n---\n") {
			var o map[string]any
			if err := yaml.Unmarshal([]byte(doc), &o); err == nil && o != nil { // Some goldens are of what is no object.
				out = append(out, o)
			}
		}
	}
	return out
}

// leaves calls f with each text and number in a value, and with how another is put in its place.
func leaves(v any, path string, set func(any), f func(path string, old any, set func(any))) {
	switch v := v.(type) {
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			leaves(v[k], path+"."+k, func(n any) { v[k] = n }, f)
		}
	case []any:
		for i, x := range v {
			leaves(x, fmt.Sprintf("%s[%d]", path, i), func(n any) { v[i] = n }, f)
		}
	case nil:
	default:
		f(path, v, set)
	}
}

// refused is what a proxy refuses of what objects come to.
func refused(t *testing.T, objects []map[string]any) (out []string) {
	t.Helper()
	var text bytes.Buffer
	for _, o := range objects {
		doc, err := yaml.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		text.WriteString("---\n")
		text.Write(doc)
	}
	file := filepath.Join(t.TempDir(), "objects.yaml")
	if err := os.WriteFile(file, text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	w, err := offline.Read(control.Options{Limits: &envoygateway.LimitService{}}, file)
	if err != nil {
		t.Fatal(err)
	}
	p, err := proxy.New(proxy.Options{Bootstrap: &bootstrapv3.Bootstrap{}, Extensions: all.Extensions(), Concurrency: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for _, problem := range p.Apply(w.Snapshot()) {
		// Which ports are free here, and that nobody gave the proxy a limiter, is not the objects' doing.
		if m := problem.Error(); problem.Severity == xds.Error && !strings.Contains(m, "listen on ") && !strings.Contains(m, "is the limiter of this process") {
			out = append(out, m)
		}
	}
	return out
}
