// SPDX-License-Identifier: Apache-2.0

package format

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// timedEntry is an operator that needs the clock or the zone of the options.
type timedEntry struct {
	syntax syntax
	make   func(arg string, o *Options) (Operator, error)
}

// timed is never changed.
var timed = map[string]timedEntry{
	"START_TIME":       {takes, timeOp(startTime, false)},
	"START_TIME_LOCAL": {takes, timeOp(startTime, true)},
	"EMIT_TIME":        {takes, timeOp(nil, false)},
	"EMIT_TIME_LOCAL":  {takes, timeOp(nil, true)},
	"DURATION":         {bare, durationOp},

	"DOWNSTREAM_PEER_CERT_V_START": {takes, timeOp(downstreamCert(notBefore), false)},
	"DOWNSTREAM_PEER_CERT_V_END":   {takes, timeOp(downstreamCert(notAfter), false)},
	"UPSTREAM_PEER_CERT_V_START":   {takes, timeOp(upstreamCert(notBefore), false)},
	"UPSTREAM_PEER_CERT_V_END":     {takes, timeOp(upstreamCert(notAfter), false)},
}

func startTime(c Context) time.Time { return c.Stream.Start }

// timeOp makes an operator that prints a moment; get is nil for now.
func timeOp(get func(Context) time.Time, local bool) func(string, *Options) (Operator, error) {
	return func(arg string, o *Options) (Operator, error) {
		zone := time.UTC
		if arg == "" {
			// As Envoy prints it: RFC 3339 with milliseconds.
			if arg = "%Y-%m-%dT%H:%M:%E3SZ"; local {
				arg = "%Y-%m-%dT%H:%M:%E3S%z"
			}
		}
		if local {
			if zone = o.Local; zone == nil {
				zone = time.Local
			}
		}
		layout, err := compileTime(arg)
		if err != nil {
			return Operator{}, err
		}
		at := get
		if at == nil {
			now := clock(o)
			at = func(Context) time.Time { return now() }
		}
		return Operator{Text: func(dst []byte, c Context) ([]byte, bool) {
			t := at(c)
			if t.IsZero() {
				return dst, false
			}
			return layout.append(dst, t.In(zone)), true
		}}, nil
	}
}

func clock(o *Options) func() time.Time {
	if o.Now != nil {
		return o.Now
	}
	return time.Now
}

// layout is a strftime format, compiled.
type layout []timeStep

// timeStep is a literal or one conversion.
type timeStep struct {
	lit   string
	verb  byte
	pad   byte // 0 for the verb's own
	upper bool
	n     int // digits of a fraction; -1 for as many as are needed
}

// Verbs that strftime writes with a modifier get a byte of their own.
const (
	verbFraction = 'f' // digits without a point
	verbSeconds  = 1   // %E3S: seconds with a fraction
	verbZoneLong = 2   // %Ez: +01:00
	verbYear4    = 3   // %E4Y
)

// composite are the verbs that stand for others.
var composite = map[byte]string{
	'c': "%a %b %e %H:%M:%S %Y",
	'D': "%m/%d/%y",
	'x': "%m/%d/%y",
	'F': "%Y-%m-%d",
	'r': "%I:%M:%S %p",
	'R': "%H:%M",
	'T': "%H:%M:%S",
	'X': "%H:%M:%S",
}

// compileTime reads strftime's format with what Envoy adds to it: %s, %f, %3f
// and Abseil's %E3S, %E*S, %E6f, %Ez, %E4Y and %ET. It refuses line breaks.
func compileTime(s string) (layout, error) {
	var out layout
	for len(s) > 0 {
		i := strings.IndexByte(s, '%')
		if i != 0 {
			if i < 0 {
				i = len(s)
			}
			if strings.ContainsAny(s[:i], "\r\n\x00") {
				return nil, fmt.Errorf("a time format must not hold a line break")
			}
			out, s = append(out, timeStep{lit: s[:i]}), s[i:]
			continue
		}
		steps, n, err := compileVerb(s)
		if err != nil {
			return nil, err
		}
		out, s = append(out, steps...), s[n:]
	}
	return out, nil
}

// compileVerb reads one conversion at the start of s and returns its length.
func compileVerb(s string) (layout, int, error) {
	step := timeStep{n: 9}
	i := 1
	for ; i < len(s) && strings.IndexByte("-_0^#", s[i]) >= 0; i++ {
		switch s[i] {
		case '^':
			step.upper = true
		case '#':
			return nil, 0, fmt.Errorf("%.10q: the flag # is not supported in a time format", s)
		default:
			step.pad = s[i]
		}
	}
	digits := 0
	extended := false
	for ; i < len(s) && (s[i] >= '0' && s[i] <= '9' || s[i] == '*' || s[i] == 'E' || s[i] == 'O'); i++ {
		switch {
		case s[i] == 'E':
			extended = true
		case s[i] == 'O':
			// Alternative digits are those of every day in Envoy's locale.
		case s[i] == '*':
			step.n = -1
		default:
			step.n = int(s[i] - '0')
			digits++
		}
	}
	if i >= len(s) {
		return nil, 0, fmt.Errorf("%.10q: a time format ends within a conversion", s)
	}
	step.verb = s[i]
	if digits > 1 || step.n == 0 || !extended && step.n < 0 {
		return nil, 0, fmt.Errorf("%.10q: 1 to 9 digits can be asked for in a time format", s)
	}
	if nested, ok := composite[step.verb]; ok && !(extended && step.verb == 'T') {
		if step.pad != 0 || step.upper || digits > 0 {
			return nil, 0, fmt.Errorf("%.10q: %%%c takes no flags and no digits in a time format", s, step.verb)
		}
		l, err := compileTime(nested)
		return l, i + 1, err
	}
	switch {
	case step.verb == 'f', step.verb == 'S' && digits == 0 && step.n > 0:
	case extended && step.verb == 'S':
		step.verb = verbSeconds
	case extended && step.verb == 'z':
		step.verb = verbZoneLong
	case extended && step.verb == 'Y' && step.n == 4:
		step.verb = verbYear4
	case extended && step.verb == 'T':
		return layout{{lit: "T"}}, i + 1, nil
	case step.verb == '%':
		return layout{{lit: "%"}}, i + 1, nil
	case step.verb == 't':
		return layout{{lit: "\t"}}, i + 1, nil
	case step.verb == 'n':
		return nil, 0, fmt.Errorf("%%n: a time format must not hold a line break")
	case digits > 0 || step.n < 0:
		return nil, 0, fmt.Errorf("%.10q: no digits can be asked for here in a time format", s)
	case strings.IndexByte("aAbBCdegGhHIjklmMpPsuUVwWyYzZ", step.verb) < 0:
		return nil, 0, fmt.Errorf("%.10q: there is no %%%c in a time format", s, step.verb)
	}
	return layout{step}, i + 1, nil
}

func (l layout) append(dst []byte, t time.Time) []byte {
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	for i := range l {
		s := &l[i]
		switch s.verb {
		case 0:
			dst = append(dst, s.lit...)
		case 'Y', verbYear4:
			dst = pad(dst, year, 4, s.pad, '0')
		case 'm':
			dst = pad(dst, int(month), 2, s.pad, '0')
		case 'd':
			dst = pad(dst, day, 2, s.pad, '0')
		case 'e':
			dst = pad(dst, day, 2, s.pad, ' ')
		case 'H':
			dst = pad(dst, hour, 2, s.pad, '0')
		case 'k':
			dst = pad(dst, hour, 2, s.pad, ' ')
		case 'M':
			dst = pad(dst, minute, 2, s.pad, '0')
		case 'S':
			dst = pad(dst, second, 2, s.pad, '0')
		case verbSeconds:
			dst = fraction(pad(dst, second, 2, 0, '0'), t.Nanosecond(), s.n, true)
		case verbFraction:
			dst = fraction(dst, t.Nanosecond(), s.n, false)
		case 's':
			dst = strconv.AppendInt(dst, t.Unix(), 10)
		case 'z', verbZoneLong, 'Z':
			dst = appendZone(dst, t, s.verb)
		default:
			dst = s.rare(dst, t)
		}
	}
	return dst
}

// rare appends the conversions that few formats use.
func (s *timeStep) rare(dst []byte, t time.Time) []byte {
	start := len(dst)
	isoYear, isoWeek := 0, 0
	switch s.verb {
	case 'g', 'G', 'V':
		isoYear, isoWeek = t.ISOWeek()
	}
	hour12 := (t.Hour()+11)%12 + 1
	switch s.verb {
	case 'a':
		dst = append(dst, t.Weekday().String()[:3]...)
	case 'A':
		dst = append(dst, t.Weekday().String()...)
	case 'b', 'h':
		dst = append(dst, t.Month().String()[:3]...)
	case 'B':
		dst = append(dst, t.Month().String()...)
	case 'C':
		dst = pad(dst, t.Year()/100, 2, s.pad, '0')
	case 'g':
		dst = pad(dst, isoYear%100, 2, s.pad, '0')
	case 'G':
		dst = pad(dst, isoYear, 4, s.pad, '0')
	case 'V':
		dst = pad(dst, isoWeek, 2, s.pad, '0')
	case 'I':
		dst = pad(dst, hour12, 2, s.pad, '0')
	case 'l':
		dst = pad(dst, hour12, 2, s.pad, ' ')
	case 'j':
		dst = pad(dst, t.YearDay(), 3, s.pad, '0')
	case 'p', 'P':
		half := "AM"
		if t.Hour() >= 12 {
			half = "PM"
		}
		if s.verb == 'P' {
			half = strings.ToLower(half)
		}
		dst = append(dst, half...)
	case 'u':
		dst = pad(dst, (int(t.Weekday())+6)%7+1, 1, s.pad, '0')
	case 'U':
		dst = pad(dst, (t.YearDay()+6-int(t.Weekday()))/7, 2, s.pad, '0')
	case 'w':
		dst = pad(dst, int(t.Weekday()), 1, s.pad, '0')
	case 'W':
		dst = pad(dst, (t.YearDay()+6-(int(t.Weekday())+6)%7)/7, 2, s.pad, '0')
	case 'y':
		dst = pad(dst, t.Year()%100, 2, s.pad, '0')
	}
	if s.upper {
		for i, c := range dst[start:] {
			if c >= 'a' && c <= 'z' {
				dst[start+i] = c - 'a' + 'A'
			}
		}
	}
	return dst
}

// pad appends n with at least width characters; flag is strftime's '-', '_' or
// '0' and overrides fill.
func pad(dst []byte, n, width int, flag, fill byte) []byte {
	switch flag {
	case '-':
		width = 1
	case '_':
		fill = ' '
	case '0':
		fill = '0'
	}
	if n < 0 {
		return strconv.AppendInt(dst, int64(n), 10)
	}
	for ; width > digitsOf(n); width-- {
		dst = append(dst, fill)
	}
	return strconv.AppendInt(dst, int64(n), 10)
}

func digitsOf(n int) int {
	d := 1
	for n >= 10 {
		n /= 10
		d++
	}
	return d
}

// fraction appends n digits of a second's nanoseconds; -1 leaves out trailing
// zeros and, if nothing is left, the point.
func fraction(dst []byte, nanos, n int, point bool) []byte {
	digits := n
	if n < 0 {
		digits = 9
		for v := nanos; digits > 0 && v%10 == 0; v /= 10 {
			digits--
		}
		if digits == 0 && point {
			return dst
		}
		digits = max(digits, 1)
	}
	if point {
		dst = append(dst, '.')
	}
	unit := 100_000_000
	for range digits {
		dst = append(dst, byte('0'+nanos/unit%10))
		unit /= 10
	}
	return dst
}

func appendZone(dst []byte, t time.Time, verb byte) []byte {
	name, offset := t.Zone()
	if verb == 'Z' {
		return append(dst, name...)
	}
	sign := byte('+')
	if offset < 0 {
		sign, offset = '-', -offset
	}
	dst = pad(append(dst, sign), offset/3600, 2, 0, '0')
	if verb == verbZoneLong {
		dst = append(dst, ':')
	}
	return pad(dst, offset/60%60, 2, 0, '0')
}
