// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"weir.dev/weir/xds"
)

func cds(version string, names ...string) string {
	var b strings.Builder
	b.WriteString("version_info: " + version + "\nresources:\n")
	for _, n := range names {
		b.WriteString("- {\"@type\": type.googleapis.com/envoy.config.cluster.v3.Cluster, name: " + n + "}\n")
	}
	return b.String()
}

// A file is read when it is there, when it is moved into place, and through the links by
// which a Kubernetes volume is swapped; what is wrong changes nothing.
func TestFileIsFollowed(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	link := func(to, name string) {
		t.Helper()
		if err := os.Symlink(to, filepath.Join(dir, name+".new")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, name+".new"), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	tg := newTarget()
	c := New(Options{Target: tg})
	defer c.Close()
	path := filepath.Join(dir, "cds.yaml")
	c.Subscribe("path", &corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_PathConfigSource{PathConfigSource: &corev3.PathConfigSource{Path: path}}}, xds.KindCluster, Wildcard)
	expect := func(what string, ok func() bool) {
		t.Helper()
		for {
			tg.mu.Lock()
			is := ok()
			tg.mu.Unlock()
			if is {
				return
			}
			<-tg.news
		}
	}
	expect("a failure", func() bool { return tg.fails > 0 })
	write("data1/cds.yaml", cds("v1", "a", "b"))
	link("data1", "data")
	link("data/cds.yaml", "cds.yaml")
	expect("both clusters", func() bool { return tg.put["a"] == "v1" && tg.put["b"] == "v1" })
	write("data2/cds.yaml", cds("v2", "b", "c"))
	link("data2", "data")
	expect("the others", func() bool { _, a := tg.put["a"]; return !a && tg.put["b"] == "v2" && tg.put["c"] == "v2" })
	fails := tg.fails
	write("data3/cds.yaml", "resources: [{")
	link("data3", "data")
	expect("another failure", func() bool { return tg.fails > fails })
	if len(tg.put) != 2 {
		t.Errorf("what is left is %v", tg.put)
	}
	write("data2/cds.yaml", cds("v3", "c"))
	link("data2", "data")
	expect("what is right again", func() bool { return len(tg.put) == 1 && tg.put["c"] == "v3" })
}

func FuzzParseFile(f *testing.F) {
	f.Add("cds.yaml", []byte(cds("1", "a")))
	f.Add("cds.pb", []byte("\x0a\x011"))
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		r, err := parseFile(name, data)
		if err != nil {
			return
		}
		c := New(Options{Target: newTarget()})
		defer c.Close()
		s := &source{c: c, wanted: map[xds.Kind]map[string]bool{xds.KindCluster: {Wildcard: true}}}
		fl := &file{s: s, m: newMux(s, nil, nil)}
		_ = fl.use(r)
	})
}
