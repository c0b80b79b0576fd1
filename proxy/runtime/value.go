// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"math"
	"strconv"
	"strings"

	"weir.dev/weir/proxy/match"
)

// Value is one runtime value: a text and all that it can be read as.
type Value struct {
	text     string
	number   float64
	fraction match.Fraction
	truth    bool
	is       facets
}

// facets tells what a value can be read as.
type facets uint8

const (
	isNumber facets = 1 << iota
	isBool
	isFraction
)

// Text returns the value as it was written.
func (v Value) Text() string { return v.text }

// ParseValue reads the text of a file or of the admin: true or false in any
// case, a number, a FractionalPercent such as
// "{numerator: 5, denominator: MILLION}" (YAML or JSON, in braces or one field
// to a line), and whatever else as text. It never fails.
func ParseValue(text string) Value {
	t := strings.TrimSpace(text)
	v := Value{text: text}
	switch {
	case strings.EqualFold(t, "true"):
		v.truth, v.is = true, isBool
	case strings.EqualFold(t, "false"):
		v.is = isBool
	default:
		if n, ok := parseNumber(t); ok {
			v.setNumber(n)
		} else if f, ok := parseFraction(t); ok {
			v.fraction, v.is = f, isFraction
		}
	}
	return v
}

// setNumber also makes a whole number a bool, as Envoy does.
func (v *Value) setNumber(n float64) {
	v.number, v.is = n, isNumber
	if n < math.MaxInt32 && n >= math.MinInt32 && n == math.Trunc(n) {
		v.truth = n != 0
		v.is |= isBool
	}
}

// parseNumber reads a decimal number; those that are no number or not finite
// are text.
func parseNumber(s string) (float64, bool) {
	if s == "" || strings.ContainsAny(s, "xXpP_nN") {
		return 0, false
	}
	n, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsInf(n, 0) {
		return 0, false
	}
	return n, true
}

// parseFraction reads a FractionalPercent.
func parseFraction(s string) (match.Fraction, bool) {
	sep := "\n"
	if strings.HasPrefix(s, "{") && strings.HasSuffix(s, "}") && len(s) >= 2 {
		s, sep = s[1:len(s)-1], ","
	}
	f := match.Fraction{Of: 100}
	seen := 0
	for field := range strings.SplitSeq(s, sep) {
		if strings.TrimSpace(field) == "" {
			continue
		}
		name, value, ok := strings.Cut(field, ":")
		if !ok || !setFraction(&f, unquote(name), unquote(value)) {
			return match.Fraction{}, false
		}
		if seen++; seen > 2 {
			return match.Fraction{}, false
		}
	}
	return f, seen > 0
}

// setFraction sets one field of a FractionalPercent.
func setFraction(f *match.Fraction, name, value string) bool {
	switch name {
	case "numerator":
		n, err := strconv.ParseUint(value, 10, 32)
		f.N = uint32(n)
		return err == nil
	case "denominator":
		switch value {
		case "HUNDRED", "0":
			f.Of = 100
		case "TEN_THOUSAND", "1":
			f.Of = 10_000
		case "MILLION", "2":
			f.Of = 1_000_000
		default:
			return false
		}
		return true
	}
	return false
}

func unquote(s string) string {
	s = strings.TrimSpace(s)
	if n := len(s); n >= 2 && (s[0] == '"' || s[0] == '\'') && s[n-1] == s[0] {
		return s[1 : n-1]
	}
	return s
}
