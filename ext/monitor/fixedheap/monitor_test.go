// SPDX-License-Identifier: Apache-2.0

package fixedheap

import (
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	fixedheapv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/fixed_heap/v3"

	"weir.dev/weir/proxy/overload"
)

// heap is a memory of which some is garbage. A collection takes some time.
type heap struct {
	live, garbage uint64
	collections   int
	now           time.Time
	takes         time.Duration
}

func (h *heap) used() uint64 { return h.live + h.garbage }

func (h *heap) collect() {
	h.garbage = 0
	h.collections++
	h.now = h.now.Add(h.takes)
}

func TestPressure(t *testing.T) {
	h := &heap{now: time.Unix(1000, 0), takes: 300 * time.Millisecond}
	m := &monitor{most: func() uint64 { return 1000 }, memory: h, now: func() time.Time { return h.now }}
	for _, c := range []struct {
		after         time.Duration
		live, garbage uint64
		want          float64
		collections   int
	}{
		{0, 100, 600, 0.7, 0},                   // Not worth a collection.
		{time.Second, 100, 800, 0.1, 1},         // It was garbage.
		{time.Second, 950, 0, 0.95, 1},          // Too soon after the last, which took long.
		{time.Second, 950, 20, 0.97, 1},         //
		{time.Second, 950, 20, 0.95, 2},         // It is the truth.
		{10 * time.Second, 2000, 500, 2, 3},     // There may be more than there should be.
		{10 * time.Second, 200, 100, 0.3, 3},    //
		{10 * time.Minute, 200, 10000, 0.2, 4},  //
		{time.Millisecond, 200, 10000, 10.2, 4}, //
	} {
		h.now = h.now.Add(c.after)
		h.live, h.garbage = c.live, c.garbage
		if p, err := m.Pressure(); p != c.want || err != nil || h.collections != c.collections {
			t.Errorf("%d live, %d garbage: pressure %v (%v) after %d collections, want %v after %d", c.live, c.garbage, p, err, h.collections, c.want, c.collections)
		}
	}
}

// TestGoMemory holds on to memory and lets go of it.
func TestGoMemory(t *testing.T) {
	var m goMemory
	m.collect()
	before := m.used()
	const size = 64 << 20
	kept := make([]byte, size)
	for i := 0; i < len(kept); i += 4096 {
		kept[i] = 1
	}
	if grown := int64(m.used()) - int64(before); grown < size*9/10 {
		t.Errorf("with %d bytes more in use there are %d more", size, grown)
	}
	kept = nil
	m.collect()
	if grown := int64(m.used()) - int64(before); grown > size/2 {
		t.Errorf("with them gone there are %d more", grown)
	}
	_ = kept
}

type values map[string]int64

func (v values) Int(key string) (int64, bool) {
	n, ok := v[key]
	return n, ok
}

func TestConfig(t *testing.T) {
	made, err := compile(&fixedheapv3.FixedHeapConfig{MaxHeapSizeBytesRuntime: &corev3.RuntimeUInt64{DefaultValue: 1 << 40, RuntimeKey: "heap"}})
	if err != nil {
		t.Fatal(err)
	}
	runtime := values{}
	m, err := made(&overload.Sources{Runtime: runtime})
	if err != nil {
		t.Fatal(err)
	}
	if p, err := m.Pressure(); p <= 0 || p > 0.5 || err != nil {
		t.Errorf("pressure %v of a TiB (%v)", p, err)
	}
	runtime["heap"] = 1
	if p, err := m.Pressure(); p < 1000 || err != nil {
		t.Errorf("pressure %v of a byte (%v)", p, err)
	}
	for _, c := range []struct {
		p    *fixedheapv3.FixedHeapConfig
		want string
	}{
		{&fixedheapv3.FixedHeapConfig{}, "max_heap_size_bytes: is not set"},
		{&fixedheapv3.FixedHeapConfig{MaxHeapSizeBytes: 1, MaxHeapSizeBytesRuntime: &corev3.RuntimeUInt64{DefaultValue: 1, RuntimeKey: "x"}}, "remove one"},
		{&fixedheapv3.FixedHeapConfig{MaxHeapSizeBytesRuntime: &corev3.RuntimeUInt64{RuntimeKey: "x"}}, "default_value: is 0"},
		{&fixedheapv3.FixedHeapConfig{MaxHeapSizeBytesRuntime: &corev3.RuntimeUInt64{DefaultValue: 1}}, "runtime_key: is empty"},
	} {
		if _, err := compile(c.p); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want one with %q", err, c.want)
		}
	}
}
