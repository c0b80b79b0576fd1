// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/stats"
)

func TestMain(m *testing.M) { leak.Main(m) }

func compile(t *testing.T, json, cluster string) (*Config, error) {
	t.Helper()
	lr := &bootstrapv3.LayeredRuntime{}
	if err := protojson.Unmarshal([]byte(json), lr); err != nil {
		t.Fatal(err)
	}
	return Compile(lr, cluster)
}

func load(t *testing.T, json string) (*Runtime, *stats.Store) {
	t.Helper()
	c, err := compile(t, json, "web")
	if err != nil {
		t.Fatal(err)
	}
	store := stats.NewStore()
	r := New(c, store, nil)
	t.Cleanup(r.Close)
	return r, store
}

func metrics(s *stats.Store) map[string]stats.Metric {
	m := map[string]stats.Metric{}
	s.Visit(func(v stats.Metric) { m[v.Name] = v })
	return m
}

func TestParseValue(t *testing.T) {
	type want struct {
		i        int64
		hasInt   bool
		d        float64
		hasNum   bool
		b        bool
		hasBool  bool
		f        match.Fraction
		hasFract bool
	}
	tests := []struct {
		text string
		want want
	}{
		{"", want{}},
		{"hello", want{}},
		{"true", want{b: true, hasBool: true}},
		{" FALSE\n", want{hasBool: true}},
		{"50", want{50, true, 50, true, true, true, match.Fraction{N: 50, Of: 100}, true}},
		{"0", want{0, true, 0, true, false, true, match.Fraction{N: 0, Of: 100}, true}},
		{"3.7", want{3, true, 3.7, true, false, false, match.Fraction{N: 3, Of: 100}, true}},
		{"101", want{101, true, 101, true, true, true, match.All, true}},
		{"-1", want{0, false, -1, true, true, true, match.Fraction{}, false}},
		{"1e300", want{1<<63 - 1, true, 1e300, true, false, false, match.All, true}},
		{"0x10", want{}},
		{"nan", want{}},
		{"Inf", want{}},
		{"{numerator: 5, denominator: MILLION}", want{f: match.Fraction{N: 5, Of: 1_000_000}, hasFract: true}},
		{`{"denominator":"TEN_THOUSAND","numerator":7}`, want{f: match.Fraction{N: 7, Of: 10_000}, hasFract: true}},
		{"numerator: 25\ndenominator: HUNDRED\n", want{f: match.Fraction{N: 25, Of: 100}, hasFract: true}},
		{"{denominator: 1}", want{f: match.Fraction{N: 0, Of: 10_000}, hasFract: true}},
		{"{numerator: -1}", want{}},
		{"{numerator: 1, denominator: FEW}", want{}},
		{"{numerator: 1, other: 2}", want{}},
		{"{}", want{}},
	}
	for _, tt := range tests {
		s := &Snapshot{values: map[string]Value{"k": ParseValue(tt.text)}}
		var got want
		got.i, got.hasInt = s.Int("k")
		got.d, got.hasNum = s.Double("k")
		got.b, got.hasBool = s.Bool("k")
		got.f, got.hasFract = s.Fraction("k")
		if got != tt.want {
			t.Errorf("%q: got %+v, want %+v", tt.text, got, tt.want)
		}
		if text, ok := s.String("k"); text != tt.text || !ok {
			t.Errorf("%q: text is %q %v", tt.text, text, ok)
		}
	}
}

func FuzzParseValue(f *testing.F) {
	for _, s := range []string{"", "true", "1", "-2.5e3", "{numerator: 5, denominator: MILLION}", "{'", "a:b\nc:d", "{\"numerator\":1}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		v := ParseValue(text)
		s := &Snapshot{values: map[string]Value{"k": v}}
		if v.Text() != text {
			t.Fatalf("text is %q", v.Text())
		}
		if n, ok := s.Int("k"); ok && n < 0 {
			t.Fatalf("%q is the negative integer %d", text, n)
		}
		if fr, ok := s.Fraction("k"); ok && fr.Of != 100 && fr.Of != 10_000 && fr.Of != 1_000_000 {
			t.Fatalf("%q is the fraction %v", text, fr)
		}
	})
}

func TestStaticLayers(t *testing.T) {
	r, store := load(t, `{"layers":[
		{"name":"base","static_layer":{"a":{"b":1,"c":"text","on":true},"f":{"numerator":3,"denominator":"MILLION"},"s":"12","empty":{}}},
		{"name":"over","static_layer":{"a":{"b":2.5}}}]}`)
	if n, ok := r.Int("a.b"); n != 2 || !ok {
		t.Errorf("a.b: %d %v", n, ok)
	}
	if s, _ := r.String("a.c"); s != "text" {
		t.Errorf("a.c: %q", s)
	}
	if b, ok := r.Bool("a.on"); !b || !ok {
		t.Errorf("a.on: %v %v", b, ok)
	}
	if f, ok := r.Fraction("f"); f != (match.Fraction{N: 3, Of: 1_000_000}) || !ok {
		t.Errorf("f: %v %v", f, ok)
	}
	if n, ok := r.Double("s"); n != 12 || !ok {
		t.Errorf("s: %v %v", n, ok)
	}
	if _, ok := r.Int("none"); ok {
		t.Error("a missing key has a value")
	}
	layers := r.Snapshot().Layers()
	if len(layers) != 2 || layers[0].Name != "base" || layers[1].Values["a.b"].Text() != "2.5" || layers[0].Values["f"].Text() != `{"denominator":"MILLION","numerator":3}` {
		t.Errorf("layers: %+v", layers)
	}
	m := metrics(store)
	if m["runtime.num_keys"].Level != 6 || m["runtime.num_layers"].Level != 2 || m["runtime.load_success"].Count != 1 {
		t.Errorf("stats: %+v", m)
	}
	if err := r.Modify(map[string]string{"x": "1"}); !errors.Is(err, ErrNoAdminLayer) {
		t.Errorf("modify without an admin layer: %v", err)
	}
}

func TestAdminLayer(t *testing.T) {
	r, store := load(t, `{"layers":[{"name":"base","static_layer":{"x":1}},{"name":"admin","admin_layer":{}}]}`)
	old := r.Snapshot()
	if err := r.Modify(map[string]string{"x": "5", "y": "true"}); err != nil {
		t.Fatal(err)
	}
	if n, _ := r.Int("x"); n != 5 {
		t.Errorf("x: %d", n)
	}
	if n, _ := old.Int("x"); n != 1 {
		t.Errorf("an old snapshot changed: x is %d", n)
	}
	if metrics(store)["runtime.admin_overrides_active"].Level != 1 {
		t.Error("admin_overrides_active is not 1")
	}
	if err := r.Modify(map[string]string{"x": "", "y": ""}); err != nil {
		t.Fatal(err)
	}
	if n, _ := r.Int("x"); n != 1 {
		t.Errorf("x: %d", n)
	}
	if metrics(store)["runtime.admin_overrides_active"].Level != 0 {
		t.Error("admin_overrides_active is not 0")
	}
	for _, bad := range []map[string]string{{"": "1"}, {"z": "1", "y": strings.Repeat("v", maxText+1)}} {
		if err := r.Modify(bad); err == nil {
			t.Error("a bad value is taken")
		}
	}
	if _, ok := r.Int("z"); ok {
		t.Error("a refused change was made in part")
	}
}

func TestNoConfigurationIsAnAdminLayer(t *testing.T) {
	c, err := Compile(nil, "")
	if err != nil {
		t.Fatal(err)
	}
	r := New(c, stats.NewStore(), nil)
	defer r.Close()
	if err := r.Modify(map[string]string{"a": "b"}); err != nil {
		t.Error(err)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestDiskLayers(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "v1/envoy/fault/http/delay"), "# how often\n10\n\n")
	write(t, filepath.Join(dir, "v1/envoy/only"), "base")
	write(t, filepath.Join(dir, "v1/override/web/fault/http/delay"), "20")
	write(t, filepath.Join(dir, "v2/envoy/fault/http/delay"), "30\n")
	root := filepath.Join(dir, "current")
	if err := os.Symlink("v1", root); err != nil {
		t.Fatal(err)
	}
	r, store := load(t, `{"layers":[
		{"name":"root","disk_layer":{"symlink_root":"`+root+`","subdirectory":"envoy"}},
		{"name":"override","disk_layer":{"symlink_root":"`+root+`","subdirectory":"override","append_service_cluster":true}}]}`)
	if n, _ := r.Int("fault.http.delay"); n != 20 {
		t.Errorf("delay: %d", n)
	}
	if s, _ := r.String("only"); s != "base" {
		t.Errorf("only: %q", s)
	}
	if metrics(store)["runtime.override_dir_exists"].Count != 1 {
		t.Error("override_dir_exists is not 1")
	}
	r.Watch(time.Millisecond)
	next := filepath.Join(dir, "next")
	if err := os.Symlink("v2", next); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, root); err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		if n, _ := r.Int("fault.http.delay"); n == 30 {
			break
		}
	}
	if _, ok := r.String("only"); ok {
		t.Error("a key of the old directory is still there")
	}
	if m := metrics(store); m["runtime.override_dir_not_exists"].Count == 0 || m["runtime.num_layers"].Level != 1 {
		t.Errorf("stats: %+v", m)
	}
}

func TestDiskError(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, strings.Repeat("d/", maxDepth+1)+"key"), "1")
	r, store := load(t, `{"layers":[{"name":"base","static_layer":{"k":1}},{"name":"disk","disk_layer":{"symlink_root":"`+dir+`"}}]}`)
	if err := r.Reload(); err == nil || !strings.Contains(err.Error(), `layer "disk"`) || !strings.Contains(err.Error(), "nested") {
		t.Errorf("reload: %v", err)
	}
	if n, _ := r.Int("k"); n != 1 {
		t.Error("the layers that can be read are not there")
	}
	if metrics(store)["runtime.load_error"].Count != 2 {
		t.Error("load_error is not 2")
	}
}

func TestRefused(t *testing.T) {
	tests := []struct{ json, want string }{
		{`{"layers":[{"name":"a","rtds_layer":{}}]}`, "layered_runtime.layers[0]: rtds_layer.name is empty"},
		{`{"layers":[{"name":"a","rtds_layer":{"name":"r"}}]}`, "layered_runtime.layers[0]: rtds_layer.rtds_config is missing"},
		{`{"layers":[{"name":"a","static_layer":{}},{"name":"a","admin_layer":{}}]}`, `layers[1]: name "a" is used twice`},
		{`{"layers":[{"name":"a","admin_layer":{}},{"name":"b","admin_layer":{}}]}`, "a second one"},
		{`{"layers":[{"name":"a"}]}`, "has no values"},
		{`{"layers":[{"static_layer":{}}]}`, "name is empty"},
		{`{"layers":[{"name":"a","disk_layer":{}}]}`, "symlink_root is empty"},
		{`{"layers":[{"name":"a","static_layer":{"x":[1]}}]}`, "x: a runtime value is"},
		{`{"layers":[{"name":"a","static_layer":{"x":{"y":null}}}]}`, "x.y: a runtime value is"},
		{`{"layers":[{"name":"a","static_layer":{"x":{"numerator":1.5}}}]}`, "is no FractionalPercent"},
	}
	for _, tt := range tests {
		if _, err := compile(t, tt.json, ""); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.json, err)
		}
	}
}

func TestLegacy(t *testing.T) {
	rt := &bootstrapv3.Runtime{}
	if err := protojson.Unmarshal([]byte(`{"symlink_root":"/srv/runtime","subdirectory":"envoy","override_subdirectory":"over","base":{"a":1}}`), rt); err != nil {
		t.Fatal(err)
	}
	c, err := CompileLegacy(rt, "web")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range c.layers {
		got = append(got, l.name+":"+l.dir)
	}
	if want := "base: root:/srv/runtime/envoy override:/srv/runtime/over/web admin:"; strings.Join(got, " ") != want {
		t.Errorf("got %v, want %s", got, want)
	}
}

func TestDeprecated(t *testing.T) {
	r, store := load(t, `{"layers":[{"name":"base","static_layer":{"old":true,"gone":false}}]}`)
	if !r.Deprecated("old", false) || r.Deprecated("gone", true) || !r.Deprecated("other", true) {
		t.Error("deprecated features are not told apart")
	}
	if m := metrics(store); m["runtime.deprecated_feature_use"].Count != 2 || m["runtime.deprecated_feature_seen_since_process_start"].Level != 2 {
		t.Errorf("stats: %+v", m)
	}
}

func TestNoAllocation(t *testing.T) {
	r, _ := load(t, `{"layers":[{"name":"base","static_layer":{"a":5}}]}`)
	var rt match.Runtime = r
	if n := testing.AllocsPerRun(100, func() {
		rt.Fraction("a")
		rt.Int("a")
		rt.Double("b")
		rt.Bool("b")
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
