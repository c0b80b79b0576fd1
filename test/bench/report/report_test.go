// SPDX-License-Identifier: Apache-2.0

package report

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestOf(t *testing.T) {
	for _, tc := range []struct {
		name string
		in   []float64
		want Spread
	}{
		{"none", nil, Spread{}},
		{"one", []float64{3}, Spread{3, 3, 3}},
		{"odd, unsorted", []float64{9, 1, 5}, Spread{1, 5, 9}},
		{"even", []float64{4, 1, 2, 8}, Spread{1, 3, 8}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := append([]float64(nil), tc.in...)
			if d := cmp.Diff(tc.want, Of(tc.in)); d != "" {
				t.Error(d)
			}
			if d := cmp.Diff(before, tc.in); d != "" {
				t.Errorf("the samples were reordered: %s", d)
			}
		})
	}
}

func TestRatioAndNumber(t *testing.T) {
	for _, tc := range []struct{ got, want string }{
		{Ratio(12.7, 15.8), "0.80"},
		{Ratio(1, 0), "–"},
		{Ratio(0, 1), "–"},
		{Number(0), "0"},
		{Number(0.124), "0.12"},
		{Number(15.84), "15.8"},
		{Number(63123.6), "63,124"},
		{Number(1234567), "1,234,567"},
		{Number(-1234), "-1,234"},
	} {
		if tc.got != tc.want {
			t.Errorf("got %q, want %q", tc.got, tc.want)
		}
	}
}

func TestTable(t *testing.T) {
	var b strings.Builder
	err := Table{
		Title: "t", About: "About it.", Unit: "us", Ratios: []string{"× b"}, Others: []string{"req/s"},
		Rows: []Row{
			{Name: "a", Main: []float64{1, 3, 2}, Others: [][]float64{{50_000, 60_000, 70_000}}, Against: []string{"b"}},
			{Name: "b", Main: []float64{4}, Others: [][]float64{{10}}, Against: []string{"b"}},
			{Name: "broken", Others: [][]float64{nil}, Against: []string{"b"}},
		},
		Notes: []string{"broken: it did not start"},
	}.Write(&b)
	if err != nil {
		t.Fatal(err)
	}
	want := `## t

About it.

| proxy | us, min | median | max | × b | req/s |
|---|---:|---:|---:|---:|---:|
| a | 1.00 | **2.00** | 3.00 | 0.50 | 60,000 |
| b | 4.00 | **4.00** | 4.00 | 1.00 | 10.0 |

- broken: it did not start

`
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Error(d)
	}
}
