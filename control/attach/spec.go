// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"encoding/json"
	"maps"
	"slices"
)

// MergeSpec returns a spec merged over its parent's: objects field by field, all else
// replaced; with StrategicMerge, lists whose entries have a type by their types (mergeType of
// Envoy Gateway's policies).
func MergeSpec[T any](over, base *T, mergeType string) *T {
	var high, low map[string]any
	for from, to := range map[*T]*map[string]any{over: &high, base: &low} {
		data, err := json.Marshal(from)
		if err == nil {
			err = json.Unmarshal(data, to)
		}
		if err != nil {
			panic("BUG: an object that was read cannot be written: " + err.Error())
		}
	}
	// Where it is attached is a policy's own.
	for _, name := range []string{"targetRef", "targetRefs", "targetSelectors", "mergeType"} {
		delete(low, name)
	}
	data, err := json.Marshal(mergeValues(low, high, mergeType == "StrategicMerge"))
	out := new(T)
	if err == nil {
		err = json.Unmarshal(data, out)
	}
	if err != nil {
		panic("BUG: what was merged cannot be read: " + err.Error())
	}
	return out
}

func mergeValues(low, high any, strategic bool) any {
	switch h := high.(type) {
	case map[string]any:
		l, ok := low.(map[string]any)
		if !ok {
			return high
		}
		out := maps.Clone(l)
		for k, v := range h {
			if was, both := l[k]; both {
				v = mergeValues(was, v, strategic)
			}
			out[k] = v
		}
		return out
	case []any:
		l, ok := low.([]any)
		if !ok || !strategic {
			return high
		}
		return mergeLists(l, h)
	}
	return high
}

// mergeLists merges lists whose entries have a type by their types; others are replaced.
func mergeLists(low, high []any) []any {
	typeOf := func(v any) any {
		m, _ := v.(map[string]any)
		return m["type"]
	}
	if len(high) == 0 || slices.ContainsFunc(high, func(v any) bool { return typeOf(v) == nil }) {
		return high
	}
	out := slices.Clone(low)
	for _, v := range high {
		if i := slices.IndexFunc(out, func(o any) bool { return typeOf(o) == typeOf(v) }); i >= 0 {
			out[i] = mergeValues(out[i], v, true)
		} else {
			out = append(out, v)
		}
	}
	return out
}
