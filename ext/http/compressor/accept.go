// SPDX-License-Identifier: Apache-2.0

package compressor

import (
	"slices"
	"strconv"
	"strings"
)

// choice is what becomes of a response.
type choice struct {
	kind     choiceKind
	encoding string
}

type choiceKind uint8

const (
	isNothing  choiceKind = iota // nothing that the client accepts can be had
	isIdentity                   // the client likes best what is not compressed
	isAny                        // the client accepts anything
	isNamed                      // the client names it
)

// maxAccepted bounds how many codings of a client are looked at.
const maxAccepted = 64

// choose finds the encoding, of those that can be had, which a client likes best by its
// Accept-Encoding (RFC 9110 §12.5.3). Of two that it likes as much, first is taken, or
// else the one that it names first.
func choose(accept string, names []string, first string) choice {
	best, out := 0.0, choice{}
	var never []string // with a weight of 0
	n := 0
	for part := range strings.SplitSeq(accept, ",") {
		if n++; n > maxAccepted {
			break
		}
		name, q := coding(part)
		if q == 0 {
			never = append(never, name)
			continue
		}
		if q < best || q == best && !(name == first && first != "") {
			continue
		}
		switch {
		case name == "identity":
			best, out = q, choice{kind: isIdentity}
		case name == "*":
			best, out = q, choice{kind: isAny}
		case slices.Contains(names, name):
			best, out = q, choice{isNamed, name}
		}
	}
	if out.kind != isAny {
		return out
	}
	// What is refused by name is not among all.
	for _, name := range append([]string{first}, names...) {
		if name != "" && !slices.Contains(never, name) {
			out.encoding = name
			return out
		}
	}
	return choice{}
}

// coding reads one entry: a name and its weight, which is 1 if none is given, and 0 if it
// cannot be read.
func coding(part string) (name string, q float64) {
	name, parameters, _ := strings.Cut(part, ";")
	name = strings.ToLower(strings.TrimSpace(name))
	if name == "x-gzip" {
		name = "gzip" // RFC 9110 §8.4.1.3.
	}
	q = 1
	for p := range strings.SplitSeq(parameters, ";") {
		k, v, ok := strings.Cut(p, "=")
		if !ok || !strings.EqualFold(strings.TrimSpace(k), "q") {
			continue
		}
		x, err := strconv.ParseFloat(strings.TrimSpace(v), 64)
		if err != nil || !(x >= 0 && x <= 1) {
			return name, 0
		}
		q = x
	}
	return name, q
}
