// SPDX-License-Identifier: Apache-2.0

package emissary

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"weir.dev/weir/control/build"
)

// The kinds of labels, by v3alpha1's words.
const (
	labelSource      = "source_cluster"
	labelDestination = "destination_cluster"
	labelAddress     = "remote_address"
	labelHeader      = "request_headers"
	labelGeneric     = "generic_key"
)

// A label is what a request counts under, together with the others of its group.
type label struct {
	// kind is one of those above; key is the label's, of a header and a generic key; value
	// is a text, or the name of a header.
	kind, key, value string
}

// action is the label in Envoy's terms. A request without the header of one has none of
// its group.
func (l label) action() *build.Action {
	switch l.kind {
	case labelSource:
		return &build.Action{ActionSpecifier: &routev3.RateLimit_Action_SourceCluster_{SourceCluster: &routev3.RateLimit_Action_SourceCluster{}}}
	case labelDestination:
		return &build.Action{ActionSpecifier: &routev3.RateLimit_Action_DestinationCluster_{DestinationCluster: &routev3.RateLimit_Action_DestinationCluster{}}}
	case labelAddress:
		return build.AddressEntry()
	case labelHeader:
		return build.HeaderEntry(l.key, l.value)
	}
	return build.GenericKey(l.key, l.value)
}

// readLabels reads the groups of labels of each domain.
func readLabels(path string, in map[string]any, bad teller) map[string][][]label {
	out := map[string][][]label{}
	for _, domain := range slices.Sorted(maps.Keys(in)) {
		at := fmt.Sprintf("%s[%q]", path, domain)
		groups, ok := in[domain].([]any)
		if !ok {
			bad(at, reasonInvalid, "is no list of groups: write - name: [labels]")
			continue
		}
		for i, g := range groups {
			own := fmt.Sprintf("%s[%d]", at, i)
			named, _ := g.(map[string]any)
			if len(named) != 1 {
				bad(own, reasonInvalid, "is not one group, by its name: write name: [labels]")
				continue
			}
			for name, list := range named {
				out[domain] = append(out[domain], labelsOf(own+"."+name, list, bad))
			}
		}
	}
	return out
}

// labelsOf reads the labels of a group.
func labelsOf(path string, in any, bad teller) []label {
	list, ok := in.([]any)
	if !ok || len(list) == 0 {
		bad(path, reasonInvalid, "is no list of labels")
	}
	var out []label
	for i, one := range list {
		out = append(out, readLabel(fmt.Sprintf("%s[%d]", path, i), one, bad))
	}
	return out
}

// readLabel reads a label in the form of either version.
func readLabel(path string, in any, bad teller) label {
	if text, ok := in.(string); ok { // of v2
		if text == labelSource || text == labelDestination || text == labelAddress {
			return label{kind: text}
		}
		return generic(path, "", text, bad)
	}
	m, _ := in.(map[string]any)
	if _, ok := m[labelGeneric].(string); ok { // of v2
		f := texts(path, m, bad, labelGeneric, "v3Key")
		return generic(path, f["v3Key"], f[labelGeneric], bad)
	}
	if len(m) != 1 {
		bad(path, reasonInvalid, "is not one label: there are %s, %s, %s, %s and %s", labelSource, labelDestination, labelAddress, labelHeader, labelGeneric)
		return label{}
	}
	kind := slices.Collect(maps.Keys(m))[0]
	at := path + "." + kind
	fields, ok := m[kind].(map[string]any)
	if !ok {
		bad(at, reasonInvalid, "has no fields")
		return label{}
	}
	if _, ok := fields["header"]; ok { // of v2
		f := texts(at, fields, bad, "header", "omit_if_not_present")
		return ofHeader(at+".header", kind, f["header"], bad)
	}
	switch kind {
	case labelSource, labelDestination, labelAddress:
		if key := texts(at, fields, bad, "key")["key"]; key != "" && key != kind {
			bad(at+".key", reasonInvalid, "%q is another than %s, which is all that it can be", key, kind)
		}
		return label{kind: kind}
	case labelHeader:
		f := texts(at, fields, bad, "key", "header_name", "omit_if_not_present")
		return ofHeader(at+".header_name", f["key"], f["header_name"], bad)
	case labelGeneric:
		f := texts(at, fields, bad, "key", "value", "v2Shorthand")
		return generic(at+".value", f["key"], f["value"], bad)
	}
	bad(at, reasonInvalid, "is no label: there are %s, %s, %s, %s and %s", labelSource, labelDestination, labelAddress, labelHeader, labelGeneric)
	return label{}
}

func generic(path, key, value string, bad teller) label {
	if value == "" {
		bad(path, reasonInvalid, "is an empty text, under which nothing can be counted")
	}
	if why := cmp.Or(build.BadFormat(value), build.BadText(value)); why != "" {
		bad(path, reasonInvalid, "the text %s", why)
	}
	return label{kind: labelGeneric, key: key, value: value}
}

func ofHeader(path, key, header string, bad teller) label {
	if !build.FieldName(strings.TrimPrefix(header, ":")) {
		bad(path, reasonInvalid, "%q is not the name of a header", header)
	}
	if key == "" {
		bad(path, reasonInvalid, "the label has no key")
	}
	return label{kind: labelHeader, key: key, value: header}
}

// texts reads fields, of which there are those that are known. Those which are true or
// false say nothing that counts: see fields.txt.
func texts(path string, in map[string]any, bad teller, known ...string) map[string]string {
	out := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(in)) {
		flag := name == "omit_if_not_present" || name == "v2Shorthand"
		text, isText := in[name].(string)
		_, isFlag := in[name].(bool)
		switch {
		case !slices.Contains(known, name):
			bad(path+"."+name, reasonInvalid, "is not known: there are %s", strings.Join(known, ", "))
		case flag && !isFlag && in[name] != nil:
			bad(path+"."+name, reasonInvalid, "is not true or false")
		case !flag && !isText && in[name] != nil:
			bad(path+"."+name, reasonInvalid, "is not a text")
		}
		out[name] = text
	}
	return out
}
