// SPDX-License-Identifier: Apache-2.0

// Package suggest finds the known word a person most likely meant when they
// wrote an unknown one. It is used for field names, enum values and type URLs;
// it knows nothing of any of them.
package suggest

import (
	"iter"
	"strings"
)

// maxWord bounds the length, in bytes, of words that are compared. Longer words
// have no neighbour: the cost of one comparison stays bounded whatever is asked.
const maxWord = 160

// Nearest returns the candidate closest to word, and whether one is close enough
// to be worth naming: at most a third of the word's letters differ, by insertion,
// deletion, replacement or exchange of neighbours. Case, '_', '-' and ' ' do not
// count. Of equally close candidates the first wins.
func Nearest(word string, candidates iter.Seq[string]) (string, bool) {
	w := fold(word)
	if w == "" || len(w) > maxWord {
		return "", false
	}
	limit := max(1, len(w)/3)
	best, found := "", false
	for c := range candidates {
		f := fold(c)
		if len(f) > maxWord || f == "" {
			continue
		}
		d := distance(w, f, limit)
		if d > limit || d >= len(f) {
			continue
		}
		best, found = c, true
		if d == 0 {
			break
		}
		limit = d - 1
	}
	return best, found
}

func fold(s string) string {
	if len(s) > 2*maxWord {
		return ""
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '_' || r == '-' || r == ' ':
			return -1
		case r >= 'A' && r <= 'Z':
			return r + ('a' - 'A')
		}
		return r
	}, s)
}

// distance is the optimal string alignment distance of a and b, or more than
// limit as soon as it is certain to exceed it.
func distance(a, b string, limit int) int {
	if diff := len(a) - len(b); diff > limit || -diff > limit {
		return limit + 1
	}
	prev2 := make([]int, len(b)+1)
	prev := make([]int, len(b)+1)
	cur := make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		low := i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			d := min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, prev2[j-2]+1)
			}
			cur[j] = d
			low = min(low, d)
		}
		if low > limit {
			return limit + 1
		}
		prev2, prev, cur = prev, cur, prev2
	}
	return prev[len(b)]
}
