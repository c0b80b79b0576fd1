// SPDX-License-Identifier: Apache-2.0

package stats

import (
	"fmt"
	"reflect"
	"strings"
	"unsafe"
)

// A field is where one statistic lies in a shard.
type field struct {
	offset uintptr
	name   string
	unit   Unit
	what   fieldType
}

type fieldType uint8

const (
	counterField fieldType = iota
	gaugeField
	histogramField
	codesField
)

func (f field) counter(shard unsafe.Pointer) *Counter { return (*Counter)(unsafe.Add(shard, f.offset)) }
func (f field) gauge(shard unsafe.Pointer) *Gauge     { return (*Gauge)(unsafe.Add(shard, f.offset)) }
func (f field) codes(shard unsafe.Pointer) *Codes     { return (*Codes)(unsafe.Add(shard, f.offset)) }
func (f field) histogram(shard unsafe.Pointer) *Histogram {
	return (*Histogram)(unsafe.Add(shard, f.offset))
}

// A layout lists the statistics of one struct type.
type layout struct {
	fields     []field
	histograms []field // those of fields that are histograms
	byName     map[string]struct{}
	codes      []string // prefixes of the Codes fields
}

// has tells if the layout can show the name.
func (l *layout) has(name string) bool {
	if _, ok := l.byName[name]; ok {
		return true
	}
	for _, p := range l.codes {
		if rest, ok := strings.CutPrefix(name, p); ok && isCode(rest) {
			return true
		}
	}
	return false
}

func isCode(s string) bool {
	return len(s) == 3 && s[0] >= '1' && s[0] <= '5' && s[1] >= '0' && s[1] <= '9' && s[2] >= '0' && s[2] <= '9'
}

// layoutOf reads the field tags of a struct type. A type that does not follow the rules of [Register] is a mistake in the
// program, so it panics.
func layoutOf(t reflect.Type) *layout {
	l := &layout{byName: map[string]struct{}{}}
	l.walk(t, t, 0, "")
	for _, f := range l.fields {
		if f.what == histogramField {
			l.histograms = append(l.histograms, f)
		}
	}
	return l
}

func (l *layout) walk(root, t reflect.Type, base uintptr, prefix string) {
	if t.Kind() != reflect.Struct {
		panic(fmt.Sprintf("BUG: stats of %v: not a struct", root))
	}
	for i := range t.NumField() {
		sf := t.Field(i)
		if sf.Name == "_" {
			continue
		}
		tag, ok := sf.Tag.Lookup("stat")
		name, unitName, _ := strings.Cut(tag, ",")
		unit, known := parseUnit(unitName)
		if !known {
			panic(fmt.Sprintf("BUG: stats of %v: field %s has unknown unit %q", root, sf.Name, unitName))
		}
		f := field{offset: base + sf.Offset, name: prefix + name, unit: unit}
		switch sf.Type {
		case reflect.TypeFor[Counter]():
			f.what = counterField
		case reflect.TypeFor[Gauge]():
			f.what = gaugeField
		case reflect.TypeFor[Histogram]():
			f.what = histogramField
		case reflect.TypeFor[Codes]():
			f.what = codesField
		default:
			if sf.Type.Kind() != reflect.Struct {
				panic(fmt.Sprintf("BUG: stats of %v: field %s is a %v", root, sf.Name, sf.Type))
			}
			l.walk(root, sf.Type, f.offset, f.name)
			continue
		}
		if !ok || name == "" {
			panic(fmt.Sprintf("BUG: stats of %v: field %s has no name", root, sf.Name))
		}
		if f.what == codesField {
			l.codes = append(l.codes, f.name)
		} else {
			l.byName[f.name] = struct{}{}
		}
		l.fields = append(l.fields, f)
	}
}
