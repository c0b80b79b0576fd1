// SPDX-License-Identifier: Apache-2.0

package route

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// split is a route to clusters c0, c1, ... of these weights.
func split(more string, weights ...uint32) string {
	var clusters []string
	for i, w := range weights {
		clusters = append(clusters, fmt.Sprintf(`{"name":"c%d","weight":%d}`, i, w))
	}
	return oneRoute(`{"match":{"prefix":"/"},"route":{"weighted_clusters":{` + more + `"clusters":[` + strings.Join(clusters, ",") + `]}}}`)
}

// TestSplitIsExact: over 100,000 seeds the clusters get what their weights ask for, as
// far as a chi-square test can tell, and one seed always goes to one cluster.
func TestSplitIsExact(t *testing.T) {
	const draws = 100_000
	for _, weights := range [][]uint32{{1, 1}, {99, 1}, {1, 0, 2}, {5, 10, 15, 70}, {4_000_000_000, 1_000_000}, {333, 333, 334}} {
		t.Run(fmt.Sprint(weights), func(t *testing.T) {
			table := mustCompile(t, split("", weights...))
			r := rand.New(rand.NewPCG(3, 4))
			counts := make([]float64, len(weights))
			req := request()
			for range draws {
				req.Random = r.Uint64()
				var got, again int
				if _, err := fmt.Sscanf(table.Match(req).Cluster(req).Name+table.Match(req).Cluster(req).Name, "c%dc%d", &got, &again); err != nil || got != again {
					t.Fatalf("seed %d goes to %d and then to %d: %v", req.Random, got, again, err)
				}
				counts[got]++
			}
			sum, chi, free := 0.0, 0.0, -1
			for _, w := range weights {
				sum += float64(w)
			}
			for i, w := range weights {
				want := draws * float64(w) / sum
				if w == 0 {
					if counts[i] > 0 {
						t.Errorf("a cluster of weight 0 got %v", counts[i])
					}
					continue
				}
				chi += (counts[i] - want) * (counts[i] - want) / want
				free++
			}
			// The 99.9th percentiles of the distribution.
			if limit := []float64{0, 10.83, 13.82, 16.27}[free]; chi > limit {
				t.Errorf("chi-square is %.2f, over %.2f: %v", chi, limit, counts)
			}
		})
	}
}

// TestSplitByHeader: a number in the header chooses, the same for all proxies.
func TestSplitByHeader(t *testing.T) {
	table := mustCompile(t, split(`"header_name":"x-split",`, 30, 0, 70))
	for value, want := range map[string]string{"0": "c0", "29": "c0", "30": "c2", "99": "c2", "100": "c0", "18446744073709551615": "c0", "x": "c2", "-1": "c2"} {
		req := request("x-split: " + value)
		req.Random = 99
		if got := table.Match(req).Cluster(req).Name; got != want {
			t.Errorf("%s goes to %s, want %s", value, got, want)
		}
	}
}
