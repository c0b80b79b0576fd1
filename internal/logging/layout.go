// SPDX-License-Identifier: Apache-2.0

package logging

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// A layout appends one record to a line, without the line's end.
type layout func(to []byte, r *record) []byte

// maxFormat bounds a format, in bytes.
const maxFormat = 4096

// compileFormat reads a log format: empty for DefaultFormat, "json" for one JSON object a line with time,
// level, component, message and each attribute, or a pattern in the syntax of Envoy's --log-format (that of
// spdlog, with Envoy's %_ and %j). In a pattern %v is the message and its attributes as key=value.
//
// Two flags differ: %t, the thread, is the process (a goroutine has no number), and %_ equals %v, because a
// message never holds a line break here. Padding such as %-10l is refused.
func compileFormat(format string) (layout, error) {
	switch format {
	case "":
		format = DefaultFormat
	case "json":
		return appendJSON, nil
	}
	if len(format) > maxFormat {
		return nil, fmt.Errorf("log format: %d bytes are more than the %d allowed", len(format), maxFormat)
	}
	if strings.ContainsAny(format, "\n\r") {
		return nil, errors.New("log format: a line break would split records: use one line")
	}
	var parts []layout
	for rest := format; rest != ""; {
		text, after, found := strings.Cut(rest, "%")
		if text != "" {
			parts = append(parts, func(to []byte, _ *record) []byte { return append(to, text...) })
		}
		if !found {
			break
		}
		if after == "" {
			return nil, fmt.Errorf("log format %q: ends in a single %%: write %%%% for a per cent sign", format)
		}
		part := flag(after[0])
		if part == nil {
			return nil, fmt.Errorf("log format %q: unknown flag %%%c: see --log-format in the guide on running", format, after[0])
		}
		parts, rest = append(parts, part), after[1:]
	}
	return func(to []byte, r *record) []byte {
		for _, p := range parts {
			to = p(to, r)
		}
		return to
	}, nil
}

// flag returns the layout of one flag of a pattern, or nil for one that does not exist.
func flag(c byte) layout {
	if l := timeLayout(c); l != "" {
		return func(to []byte, r *record) []byte { return r.at.AppendFormat(to, l) }
	}
	switch c {
	case '%':
		return func(to []byte, _ *record) []byte { return append(to, '%') }
	case 'v', '_':
		return appendText
	case 'j':
		return func(to []byte, r *record) []byte {
			quoted := appendQuoted(nil, string(appendText(nil, r)))
			return append(to, quoted[1:len(quoted)-1]...)
		}
	case 'n':
		return func(to []byte, r *record) []byte { return appendEscaped(to, r.component) }
	case 'l':
		return func(to []byte, r *record) []byte { return append(to, LevelName(r.level)...) }
	case 'L':
		return func(to []byte, r *record) []byte { return append(to, LevelName(r.level)[0]-'a'+'A') }
	case 't', 'P':
		return func(to []byte, _ *record) []byte { return strconv.AppendInt(to, int64(os.Getpid()), 10) }
	case 'C':
		return func(to []byte, r *record) []byte { return append(to, r.at.Format("2006")[2:]...) }
	case 'e':
		return func(to []byte, r *record) []byte { return appendPadded(to, r.at.Nanosecond()/1e6, 3) }
	case 'f':
		return func(to []byte, r *record) []byte { return appendPadded(to, r.at.Nanosecond()/1e3, 6) }
	case 'F':
		return func(to []byte, r *record) []byte { return appendPadded(to, r.at.Nanosecond(), 9) }
	}
	return sourceFlag(c)
}

// sourceFlag returns the layout of a flag that tells the place in the source.
func sourceFlag(c byte) layout {
	var of func(runtime.Frame) string
	switch c {
	case '@':
		of = func(f runtime.Frame) string { return f.File + ":" + strconv.Itoa(f.Line) }
	case 's':
		of = func(f runtime.Frame) string { return filepath.Base(f.File) }
	case 'g':
		of = func(f runtime.Frame) string { return f.File }
	case '#':
		of = func(f runtime.Frame) string { return strconv.Itoa(f.Line) }
	case '!':
		of = func(f runtime.Frame) string { return f.Function }
	default:
		return nil
	}
	return func(to []byte, r *record) []byte {
		if r.pc == 0 {
			return append(to, '-')
		}
		frame, _ := runtime.CallersFrames([]uintptr{r.pc}).Next()
		return appendEscaped(to, of(frame))
	}
}

// timeLayout is Go's layout of a flag that package time can write by itself, or "".
func timeLayout(c byte) string {
	switch c {
	case 'a':
		return "Mon"
	case 'A':
		return "Monday"
	case 'b':
		return "Jan"
	case 'B':
		return "January"
	case 'c':
		return "Mon Jan 2 15:04:05 2006"
	case 'Y':
		return "2006"
	case 'D', 'x':
		return "01/02/06"
	case 'm':
		return "01"
	case 'd':
		return "02"
	case 'H':
		return "15"
	case 'I':
		return "03"
	case 'M':
		return "04"
	case 'S':
		return "05"
	case 'p':
		return "PM"
	case 'r':
		return "03:04:05 PM"
	case 'R':
		return "15:04"
	case 'T', 'X':
		return "15:04:05"
	case 'z':
		return "-07:00"
	}
	return ""
}

// appendPadded appends n with leading zeros to width digits.
func appendPadded(to []byte, n, width int) []byte {
	var digits [9]byte
	for i := width - 1; i >= 0; i-- {
		digits[i] = byte('0' + n%10)
		n /= 10
	}
	return append(to, digits[:width]...)
}

// CheckFormat reports what is wrong with a log format; nil means that New will take it.
//
// A format is empty for DefaultFormat, "json" for one JSON object a line, or a pattern in the syntax of
// Envoy's --log-format: text with flags such as %v (message and attributes), %l (level), %n (component),
// %Y-%m-%d %T.%e (time), %s:%# (source file and line).
func CheckFormat(format string) error {
	_, err := compileFormat(format)
	return err
}
