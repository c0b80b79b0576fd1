// SPDX-License-Identifier: Apache-2.0

// Package ledger keeps the books of what is done with each field of a message, so
// that no field of a configuration is ignored in silence.
//
// A folder that reads messages has a fields.txt:
//
//	# what the filter reads
//	message envoy.extensions.filters.http.cors.v3.CorsPolicy
//	allow_methods               yes
//	allow_credentials           yes
//	filter_enabled              see envoy.config.core.v3.RuntimeFractionalPercent
//	shadow_enabled.runtime_key  rejected: there is no runtime here
//	max_age                     ignored: browsers cap it anyway
//
// Each line has a field's path, from the message of the last "message" line, and a
// verdict. A field that is a message of its own is either expanded (a line for each
// of its fields, joined by dots), told as a whole (rejected or ignored), or declared
// to be told elsewhere: by "see" and its type, or by a "message" section for its
// type in the same file. Lists and maps have no step of their own. Protobuf's own
// messages (Duration, wrappers, Struct, Any, ...) are fields like any scalar.
//
// The test that compares the file with the message is ledgertest.Run; Apply is what
// a config.go calls.
package ledger

import (
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"weir.dev/weir/xds"
)

// A Verdict says what is done with a field.
type Verdict uint8

const (
	// Undecided ("TODO") is what ledgertest writes for a new field, and fails on.
	Undecided Verdict = iota
	// Yes: the field is honoured.
	Yes
	// Rejected: a configuration that sets the field is refused.
	Rejected
	// Ignored: the field has no effect, and its Reason says why that does no harm.
	Ignored
	// See: the field's message is told in another place.
	See
)

// String returns the word that stands in the file.
func (v Verdict) String() string {
	return [...]string{"TODO", "yes", "rejected", "ignored", "see"}[v]
}

// An Entry is one line.
type Entry struct {
	// Message is the full name of the message whose section the line is in.
	Message protoreflect.FullName
	// Field is the path from that message.
	Field   string
	Verdict Verdict
	// Reason of Rejected (may be empty) and Ignored; the type's name for See.
	Reason string
	// Line in the file, from 1.
	Line int
}

// A Ledger is a read fields.txt. It is immutable.
type Ledger struct {
	entries  []Entry
	messages map[protoreflect.FullName]*section
}

type section struct {
	fields map[string]Entry
	// inner holds each proper prefix of a field's path: the messages expanded here.
	inner map[string]bool
}

// Parse reads the text of a fields.txt.
func Parse(text string) (*Ledger, error) {
	l := &Ledger{messages: map[protoreflect.FullName]*section{}}
	var name protoreflect.FullName
	number := 0
	for line := range strings.Lines(text) {
		number++
		line, _, _ = strings.Cut(line, "#")
		field, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		rest = strings.TrimSpace(rest)
		switch {
		case field == "":
			continue
		case field == "message" && strings.Contains(rest, "."):
			name = protoreflect.FullName(rest)
			if !name.IsValid() {
				return nil, fmt.Errorf("line %d: %q is not the name of a message", number, rest)
			}
			if l.messages[name] != nil {
				return nil, fmt.Errorf("line %d: a second section for %s", number, name)
			}
			l.messages[name] = &section{fields: map[string]Entry{}, inner: map[string]bool{}}
			continue
		case name == "":
			return nil, fmt.Errorf(`line %d: %q stands before the first "message" line`, number, field)
		}
		e := Entry{Message: name, Field: field, Line: number}
		if err := e.parseVerdict(rest); err != nil {
			return nil, fmt.Errorf("line %d: %s: %w", number, field, err)
		}
		if err := l.messages[name].add(e); err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		l.entries = append(l.entries, e)
	}
	return l, nil
}

// MustParse is Parse for a file that is embedded in the program. It panics on an
// error.
func MustParse(text string) *Ledger {
	l, err := Parse(text)
	if err != nil {
		panic("BUG: fields.txt: " + err.Error())
	}
	return l
}

func (e *Entry) parseVerdict(text string) error {
	word, reason, _ := strings.Cut(text, " ")
	e.Reason = strings.TrimSpace(reason)
	switch strings.TrimSuffix(word, ":") {
	case "yes":
		e.Verdict = Yes
	case "rejected":
		e.Verdict = Rejected
	case "ignored":
		e.Verdict = Ignored
		if e.Reason == "" {
			return fmt.Errorf(`"ignored" wants a reason: ignored: because`)
		}
	case "see":
		e.Verdict = See
		if !protoreflect.FullName(e.Reason).IsValid() {
			return fmt.Errorf(`"see" wants the name of a message`)
		}
	case "TODO":
		e.Verdict = Undecided
	default:
		return fmt.Errorf(`verdict %q is none of yes, rejected, "ignored: reason", "see message"`, word)
	}
	return nil
}

func (s *section) add(e Entry) error {
	if _, ok := s.fields[e.Field]; ok {
		return fmt.Errorf("a second line for %s", e.Field)
	}
	s.fields[e.Field] = e
	for i, c := range e.Field {
		if c == '.' {
			s.inner[e.Field[:i]] = true
		}
	}
	return nil
}

// Entries yields all lines in the order of the file.
func (l *Ledger) Entries() iter.Seq[Entry] { return slices.Values(l.entries) }

// Has reports whether the ledger has a section for the message.
func (l *Ledger) Has(name protoreflect.FullName) bool { return l.messages[name] != nil }

// Lookup returns the line of a field of a message.
func (l *Ledger) Lookup(message protoreflect.FullName, field string) (Entry, bool) {
	s := l.messages[message]
	if s == nil {
		return Entry{}, false
	}
	e, ok := s.fields[field]
	return e, ok
}

// Expands reports whether the section of message has lines for fields inside of
// field.
func (l *Ledger) Expands(message protoreflect.FullName, field string) bool {
	s := l.messages[message]
	return s != nil && s.inner[field]
}

// Check walks m and returns a problem for each field that is set and that the
// ledger rejects (an Error), ignores (a Warning with the reason) or does not have
// (an Error). The paths begin with path, which may be empty. Messages that are told
// elsewhere are not walked. It panics if the ledger has no section for m: that is
// no fault of the configuration's.
func (l *Ledger) Check(m proto.Message, path string) []xds.Problem {
	name := m.ProtoReflect().Descriptor().FullName()
	if l.messages[name] == nil {
		panic("BUG: no ledger for " + string(name))
	}
	w := &walk{ledger: l}
	w.message(m.ProtoReflect(), name, "", path)
	return w.problems
}

// Apply is Check for who compiles m: it calls warn with each field that has no
// effect and why, and returns an error that tells of all that is refused. The error
// is an xds.Problem if there is one such field. A nil warn is for a ledger that
// ignores nothing.
func (l *Ledger) Apply(m proto.Message, path string, warn func(path, reason string)) error {
	var refused problems
	for _, p := range l.Check(m, path) {
		if p.Severity == xds.Warning {
			warn(p.Path, p.Reason)
			continue
		}
		refused = append(refused, p)
	}
	switch len(refused) {
	case 0:
		return nil
	case 1:
		return refused[0]
	}
	return refused
}

// problems are several, told on one line.
type problems []xds.Problem

func (ps problems) Error() string {
	var b strings.Builder
	for i, p := range ps {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(p.Error())
	}
	return b.String()
}

// Unwrap returns the problems one by one.
func (ps problems) Unwrap() []error {
	out := make([]error, len(ps))
	for i, p := range ps {
		out[i] = p
	}
	return out
}

type walk struct {
	ledger   *Ledger
	problems []xds.Problem
}

// message walks m, which stands at field inside of the section called name.
func (w *walk) message(m protoreflect.Message, name protoreflect.FullName, field, path string) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		if m.Has(fd) {
			w.field(m, fd, name, join(field, fd), join(path, fd))
		}
	}
}

func (w *walk) field(m protoreflect.Message, fd protoreflect.FieldDescriptor, name protoreflect.FullName, field, path string) {
	e, ok := w.ledger.Lookup(name, field)
	if ok && e.Verdict != See {
		if e.Verdict != Yes {
			w.problems = append(w.problems, e.problem(path))
		}
		return
	}
	inner := Nested(fd)
	switch {
	case inner == nil:
		w.problems = append(w.problems, Entry{Verdict: Undecided}.problem(path))
		return
	case w.ledger.Has(inner.FullName()):
		name, field = inner.FullName(), ""
	case ok:
		return // told elsewhere.
	case !w.ledger.Expands(name, field):
		w.problems = append(w.problems, Entry{Verdict: Undecided}.problem(path))
		return
	}
	for at, element := range elements(m, fd) {
		w.message(element, name, field, path+at)
	}
}

// problem says what a verdict means for whoever set the field.
func (e Entry) problem(path string) xds.Problem {
	p := xds.Problem{Path: path, Reason: "is not supported", Remedy: "remove it"}
	if e.Verdict == Ignored {
		p = xds.Problem{Severity: xds.Warning, Path: path, Reason: "is ignored"}
	}
	if e.Reason != "" && e.Verdict != Undecided {
		p.Reason += ": " + e.Reason
	}
	return p
}

// Nested returns the message type whose fields a ledger tells one by one: that of
// the field, its elements or its map's values. It is nil for scalars, for
// protobuf's own messages and for messages without fields.
func Nested(fd protoreflect.FieldDescriptor) protoreflect.MessageDescriptor {
	if fd.IsMap() {
		fd = fd.MapValue()
	}
	md := fd.Message()
	if md == nil || md.ParentFile().Package() == "google.protobuf" || md.Fields().Len() == 0 {
		return nil
	}
	return md
}

// elements yields the messages in a field with what each adds to the path.
func elements(m protoreflect.Message, fd protoreflect.FieldDescriptor) iter.Seq2[string, protoreflect.Message] {
	return func(yield func(string, protoreflect.Message) bool) {
		v := m.Get(fd)
		switch {
		case fd.IsMap():
			var keys []protoreflect.MapKey
			v.Map().Range(func(k protoreflect.MapKey, _ protoreflect.Value) bool {
				keys = append(keys, k)
				return true
			})
			slices.SortFunc(keys, func(a, b protoreflect.MapKey) int { return strings.Compare(a.String(), b.String()) })
			for _, k := range keys {
				if !yield("["+strconv.Quote(k.String())+"]", v.Map().Get(k).Message()) {
					return
				}
			}
		case fd.IsList():
			for i := range v.List().Len() {
				if !yield("["+strconv.Itoa(i)+"]", v.List().Get(i).Message()) {
					return
				}
			}
		default:
			yield("", v.Message())
		}
	}
}

func join(path string, fd protoreflect.FieldDescriptor) string {
	if path == "" {
		return string(fd.Name())
	}
	return path + "." + string(fd.Name())
}
