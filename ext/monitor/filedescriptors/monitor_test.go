// SPDX-License-Identifier: Apache-2.0

package filedescriptors

import (
	"os"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"

	"weir.dev/weir/proxy/overload"
	"weir.dev/weir/xds/ledger/ledgertest"
	"weir.dev/weir/xds/typedstruct"
)

func TestFields(t *testing.T) {
	ledgertest.RunStruct(t, "fields.txt", Type, typedstruct.Fields(settings{})...)
}

func TestPressure(t *testing.T) {
	tests := []struct {
		most, limit uint64
		want        float64
	}{{0, 100, 0.25}, {50, 100, 0.5}, {200, 100, 0.25}}
	for _, c := range tests {
		m := &monitor{most: c.most, open: func() (uint64, error) { return 25, nil }, limit: func() (uint64, error) { return c.limit, nil }}
		if p, err := m.Pressure(); p != c.want || err != nil {
			t.Errorf("of %d and %d: pressure %v (%v), want %v", c.most, c.limit, p, err, c.want)
		}
	}
}

// TestThisProcess opens files and counts them.
func TestThisProcess(t *testing.T) {
	s := typedstruct.New(Type)
	if err := protojson.Unmarshal([]byte(`{"value":{"max_file_descriptors":64}}`), s); err != nil {
		t.Fatal(err)
	}
	s.TypeUrl = typedstruct.New(Type).GetTypeUrl()
	made, err := compile(s)
	if err != nil {
		t.Fatal(err)
	}
	m, err := made(&overload.Sources{})
	if err != nil {
		t.Fatal(err)
	}
	before, err := m.Pressure()
	if err != nil || before <= 0 {
		t.Fatalf("pressure %v (%v)", before, err)
	}
	for range 16 {
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
	}
	if after, err := m.Pressure(); after != before+0.25 || err != nil {
		t.Errorf("pressure %v (%v) with 16 files more, want %v", after, err, before+0.25)
	}
	if err := protojson.Unmarshal([]byte(`{"value":{"max":64}}`), s); err != nil {
		t.Fatal(err)
	}
	if _, err := compile(s); err == nil {
		t.Error("an unknown field is taken")
	}
}
