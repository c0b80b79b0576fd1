// SPDX-License-Identifier: Apache-2.0

// Package format is Envoy's substitution format: strings such as
// "%REQ(:METHOD)% %RESPONSE_CODE%" that access logs, header manipulation and
// local replies are written in, and the JSON objects made of such strings
// (envoy.config.core.v3.SubstitutionFormatString). The operators are those of
// Envoy's "Substitution Formatter" page.
//
// A format is compiled once and then appended to a buffer any number of times,
// from any goroutine, without allocation for everything but certificates and
// large metadata objects. Every operator is safe with every part of a stream
// missing.
//
// Bytes from the wire cannot break the form of the output: in text a control
// byte in a value becomes '_', so a value never starts a new line, and JSON is
// always valid, with invalid UTF-8 replaced by U+FFFD.
//
// The package evaluates no CEL itself; see [Options.Operators].
package format

import (
	"fmt"
	"time"

	"weir.dev/weir/proxy/streaminfo"
)

// Default is Envoy's default access log format.
const Default = `[%START_TIME%] "%REQUEST_HEADER(:METHOD)% %REQUEST_HEADER(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" ` +
	`%RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% ` +
	`%RESPONSE_HEADER(X-ENVOY-UPSTREAM-SERVICE-TIME)% ` +
	`"%REQUEST_HEADER(X-FORWARDED-FOR)%" "%REQUEST_HEADER(USER-AGENT)%" "%REQUEST_HEADER(X-REQUEST-ID)%" ` +
	`"%REQUEST_HEADER(:AUTHORITY)%" "%UPSTREAM_HOST%"` + "\n"

// Context is what an operator sees.
type Context struct {
	Stream *streaminfo.Stream
	// LogType is the name of the access log type (%ACCESS_LOG_TYPE%); "" is
	// "NotSet".
	LogType string
}

// Operator is one command of a format, compiled.
type Operator struct {
	// Text appends the value, or reports that there is none.
	Text func(dst []byte, c Context) ([]byte, bool)
	// JSON appends the value as one JSON value, for a json_format that
	// consists of this operator alone; nil stands for Text as a string.
	JSON func(dst []byte, c Context) ([]byte, bool)
	// Number tells that Text is a JSON number.
	Number bool
}

// Constructor makes an operator from the argument in its parentheses; has
// tells "%X()%" from "%X%". A length ("%X(arg):20%") is applied by the format.
type Constructor func(arg string, has bool) (Operator, error)

// Options says how a format is compiled. The zero Options is Envoy's default.
type Options struct {
	// OmitEmpty prints a missing value as nothing and not as "-"; in JSON it
	// leaves out the key (omit_empty_values). Header manipulation sets it, and
	// adds no header whose value is empty.
	OmitEmpty bool
	// Strings makes every value of a JSON format a string, and a missing one
	// "-", as the older json_format of the file access log asks for.
	Strings bool
	// Multiline keeps line breaks in values, for formats that are the body of
	// a response. Log lines and header values must not set it.
	Multiline bool
	// Operators are further operators by name, such as CEL. They go before
	// the built-in ones.
	Operators map[string]Constructor
	// Hostname is %HOSTNAME%; "" asks the system at compilation.
	Hostname string
	// Getenv is where %ENVIRONMENT(X)% looks, at compilation; nil is
	// [os.LookupEnv].
	Getenv func(string) (string, bool)
	// Now is the clock of %EMIT_TIME% and of the duration of a stream that has
	// not ended; nil is [time.Now].
	Now func() time.Time
	// Local is the zone of %START_TIME_LOCAL%; nil is [time.Local].
	Local *time.Location
}

// Format is a compiled format. It is immutable.
type Format struct {
	ops         []op
	json        *node // nil for text
	omit        bool
	contentType string
}

// op is a literal or an operator.
type op struct {
	lit string // if run.Text is nil
	run Operator
	max int // bytes of text at most; -1 for all
	// keep tells that line breaks stay.
	keep bool
}

// Compile reads a text format. It fails at the first thing that Envoy would
// not take, and names it.
func Compile(s string, o Options) (*Format, error) {
	ops, err := compileOps(s, &o)
	if err != nil {
		return nil, err
	}
	return &Format{ops: ops, omit: o.OmitEmpty, contentType: "text/plain"}, nil
}

// CompileJSON reads a json_format: a tree of map[string]any, []any, string,
// float64 and bool whose strings are text formats. A string that is one
// operator alone keeps the type of its value: numbers stay numbers, metadata
// stays an object, a missing value is null.
func CompileJSON(tree map[string]any, o Options) (*Format, error) {
	n, err := compileNode(tree, &o, "json_format", 0)
	if err != nil {
		return nil, err
	}
	return &Format{json: n, omit: o.OmitEmpty, contentType: "application/json"}, nil
}

// ContentType returns the content type of what the format prints.
func (f *Format) ContentType() string { return f.contentType }

// IsJSON reports whether the format prints a JSON object.
func (f *Format) IsJSON() bool { return f.json != nil }

// Literal returns the text of a format without operators.
func (f *Format) Literal() (string, bool) {
	switch {
	case f.json != nil || len(f.ops) > 1:
		return "", false
	case len(f.ops) == 0:
		return "", true
	}
	return f.ops[0].lit, f.ops[0].run.Text == nil
}

// AppendTo appends what the format prints of a stream. A JSON format ends in a
// line break, as Envoy's does.
func (f *Format) AppendTo(dst []byte, info *streaminfo.Stream) []byte {
	return f.Append(dst, Context{Stream: info})
}

// Append is [Format.AppendTo] with all that operators may ask for.
func (f *Format) Append(dst []byte, c Context) []byte {
	if f.json != nil {
		dst, _ = f.json.append(dst, c, f.omit)
		return append(dst, '\n')
	}
	for i := range f.ops {
		dst = f.ops[i].appendText(dst, c, f.omit)
	}
	return dst
}

func (p *op) appendText(dst []byte, c Context, omit bool) []byte {
	if p.run.Text == nil {
		return append(dst, p.lit...)
	}
	dst, ok := p.value(dst, c)
	if !ok && !omit {
		dst = append(dst, '-')
	}
	return dst
}

// value appends the operator's text, cut to its length and without control
// bytes.
func (p *op) value(dst []byte, c Context) ([]byte, bool) {
	start := len(dst)
	out, ok := p.run.Text(dst, c)
	if !ok {
		return out[:start], false
	}
	if p.max >= 0 && len(out)-start > p.max {
		out = out[:start+p.max]
	}
	if !p.run.Number {
		clean(out[start:], p.keep)
	}
	return out, true
}

// clean replaces control bytes in place. Tabs stay: header values may hold
// them and they end no line.
func clean(b []byte, keepLines bool) {
	for i, c := range b {
		if c >= 0x20 && c != 0x7f || c == '\t' {
			continue
		}
		if keepLines && (c == '\n' || c == '\r') {
			continue
		}
		b[i] = '_'
	}
}

func compileOps(s string, o *Options) ([]op, error) {
	tokens, err := tokenize(s)
	if err != nil {
		return nil, err
	}
	ops := make([]op, 0, len(tokens))
	for _, t := range tokens {
		if t.name == "" {
			ops = append(ops, op{lit: t.lit, max: -1})
			continue
		}
		run, err := lookup(t, o)
		if err != nil {
			return nil, fmt.Errorf("format %.200q: operator at byte %d: %w", s, t.at, err)
		}
		ops = append(ops, op{run: run, max: t.max, keep: o.Multiline})
	}
	return ops, nil
}
