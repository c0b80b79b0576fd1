// SPDX-License-Identifier: Apache-2.0

// Package report turns samples into the benchmark's Markdown tables.
package report

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// A Spread is the smallest, middle and largest of some samples.
type Spread struct {
	Min, Median, Max float64
}

// Of computes the spread of the samples; an even number has the mean of the middle two as median. All are zero when
// there is no sample.
func Of(samples []float64) Spread {
	if len(samples) == 0 {
		return Spread{}
	}
	s := slices.Sorted(slices.Values(samples))
	n := len(s)
	return Spread{Min: s[0], Median: (s[(n-1)/2] + s[n/2]) / 2, Max: s[n-1]}
}

// Ratio is a over b in two decimals, or a dash where there is nothing to divide by.
func Ratio(a, b float64) string {
	if b == 0 || a == 0 {
		return "–"
	}
	return strconv.FormatFloat(a/b, 'f', 2, 64)
}

// Number prints x with about three significant digits, and thousands in groups.
func Number(x float64) string {
	switch {
	case x == 0:
		return "0"
	case x < 10 && x > -10:
		return strconv.FormatFloat(x, 'f', 2, 64)
	case x < 1000 && x > -1000:
		return strconv.FormatFloat(x, 'f', 1, 64)
	}
	s := strconv.FormatFloat(x, 'f', 0, 64)
	sign := ""
	if s[0] == '-' {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

// A Row is one proxy in one variant: the samples of its rounds.
type Row struct {
	// Name is what the first column shows.
	Name string
	// Main holds the main figure of each round.
	Main []float64
	// Others hold the samples of the secondary columns, in their order; only medians are shown.
	Others [][]float64
	// Against are the names of the rows that the ratio columns divide by, in their order; "" leaves a dash.
	Against []string
}

// A Table is the result of one scenario.
type Table struct {
	Title, About string
	// Unit is of the main figure; Ratios and Others head the further columns.
	Unit           string
	Ratios, Others []string
	Rows           []Row
	// Notes are printed below: what was wrong with a run, and what limits the reading.
	Notes []string
}

// Write prints the table as Markdown. A row without samples is left out; its notes say why.
func (t Table) Write(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "## %s\n\n%s\n\n", t.Title, t.About)
	head := append([]string{"proxy", t.Unit + ", min", "median", "max"}, t.Ratios...)
	head = append(head, t.Others...)
	fmt.Fprintf(&b, "| %s |\n|---%s\n", strings.Join(head, " | "), strings.Repeat("|---:", len(head)-1)+"|")
	medians := make(map[string]float64)
	for _, r := range t.Rows {
		medians[r.Name] = Of(r.Main).Median
	}
	for _, r := range t.Rows {
		if len(r.Main) == 0 {
			continue
		}
		s := Of(r.Main)
		cells := []string{r.Name, Number(s.Min), "**" + Number(s.Median) + "**", Number(s.Max)}
		for _, name := range r.Against {
			cells = append(cells, Ratio(s.Median, medians[name]))
		}
		for _, o := range r.Others {
			cells = append(cells, Number(Of(o).Median))
		}
		fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | "))
	}
	b.WriteString("\n")
	for _, n := range t.Notes {
		fmt.Fprintf(&b, "- %s\n", n)
	}
	if len(t.Notes) > 0 {
		b.WriteString("\n")
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write the table of %s: %w", t.Title, err)
	}
	return nil
}
