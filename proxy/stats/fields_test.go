// SPDX-License-Identifier: Apache-2.0

package stats

import (
	"os"
	"strings"
	"testing"

	metricsv3 "github.com/envoyproxy/go-control-plane/envoy/config/metrics/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/proto"
)

// TestLedger checks that fields.txt names every field of the messages this package reads, and no other.
func TestLedger(t *testing.T) {
	var want []string
	for _, m := range []proto.Message{
		&metricsv3.StatsConfig{}, &metricsv3.StatsMatcher{}, &metricsv3.TagSpecifier{}, &metricsv3.HistogramBucketSettings{},
	} {
		fields := m.ProtoReflect().Descriptor().Fields()
		for i := range fields.Len() {
			want = append(want, string(fields.Get(i).FullName()))
		}
	}
	b, err := os.ReadFile("fields.txt")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(string(b)) {
		name, word, _ := strings.Cut(strings.TrimSpace(line), " ")
		reason, ignored := strings.CutPrefix(word, "ignored: ")
		if word != "yes" && word != "rejected" && (!ignored || reason == "") {
			t.Errorf("%s: %q is not yes, rejected or ignored with a reason", name, word)
		}
		got = append(got, name)
	}
	less := func(a, b string) bool { return a < b }
	if d := cmp.Diff(want, got, cmpopts.SortSlices(less)); d != "" {
		t.Errorf("fields.txt (-messages +file)\n%s", d)
	}
}
