// SPDX-License-Identifier: Apache-2.0

package typedstruct

import (
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	xdstypev3 "github.com/cncf/xds/go/xds/type/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"

	"weir.dev/weir/internal/suggest"
)

// tag names a field's key in the value.
const tag = "field"

// Decode reads the value of s into the struct that into points to. Its fields have
// the tag "field" and are bool, string, int64, uint32, float64, time.Duration (as
// protobuf writes it: "0.25s"), structs of such fields, slices, and maps with keys of
// text. A field that s does not have stays as it is; null counts as not there.
//
// A key without a field, and a value of another type, is an error, which begins with
// the path from s: value["allow"][0]. It panics if into is not of that form: that is
// no fault of the configuration's.
func Decode(s *xdstypev3.TypedStruct, into any) error {
	return structure(s.GetValue(), reflect.ValueOf(into).Elem(), "value")
}

// Fields are the keys that Decode reads into v, a struct or a pointer to one: for a
// struct within it those of its fields, joined by dots.
func Fields(v any) []string {
	t := reflect.TypeOf(v)
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	var out []string
	for i := range t.NumField() {
		name, ft := t.Field(i).Tag.Get(tag), t.Field(i).Type
		for ft.Kind() == reflect.Slice || ft.Kind() == reflect.Map {
			ft = ft.Elem()
		}
		if ft.Kind() != reflect.Struct {
			out = append(out, name)
			continue
		}
		for _, inner := range Fields(reflect.Zero(ft).Interface()) {
			out = append(out, name+"."+inner)
		}
	}
	return out
}

func structure(s *structpb.Struct, into reflect.Value, path string) error {
	t := into.Type()
	var known []string
	at := map[string]int{}
	for i := range t.NumField() {
		name := t.Field(i).Tag.Get(tag)
		if name == "" {
			panic("BUG: " + t.String() + "." + t.Field(i).Name + " has no tag " + tag)
		}
		known, at[name] = append(known, name), i
	}
	for _, key := range slices.Sorted(maps.Keys(s.GetFields())) {
		i, ok := at[key]
		if !ok {
			remedy := "there are " + strings.Join(known, ", ")
			if near, ok := suggest.Nearest(key, slices.Values(known)); ok {
				remedy = fmt.Sprintf("did you mean %q?", near)
			}
			return fmt.Errorf("%s: unknown field (%s)", step(path, key), remedy)
		}
		if err := value(s.GetFields()[key], into.Field(i), step(path, key)); err != nil {
			return err
		}
	}
	return nil
}

func step(path, key string) string { return path + "[" + strconv.Quote(key) + "]" }

func value(v *structpb.Value, into reflect.Value, path string) error {
	if _, null := v.GetKind().(*structpb.Value_NullValue); null {
		return nil
	}
	if into.Type() == reflect.TypeFor[time.Duration]() {
		return duration(v, into, path)
	}
	switch into.Kind() {
	case reflect.Struct:
		if k, ok := v.GetKind().(*structpb.Value_StructValue); ok {
			return structure(k.StructValue, into, path)
		}
		return mismatch(v, path, "fields")
	case reflect.Slice:
		return elements(v, into, path)
	case reflect.Map:
		return entries(v, into, path)
	default:
		return scalar(v, into, path)
	}
}

func elements(v *structpb.Value, into reflect.Value, path string) error {
	k, ok := v.GetKind().(*structpb.Value_ListValue)
	if !ok {
		return mismatch(v, path, "a list")
	}
	out := reflect.MakeSlice(into.Type(), len(k.ListValue.GetValues()), len(k.ListValue.GetValues()))
	for i, e := range k.ListValue.GetValues() {
		if _, null := e.GetKind().(*structpb.Value_NullValue); null {
			return fmt.Errorf("%s[%d]: an element of a list cannot be null: remove it", path, i)
		}
		if err := value(e, out.Index(i), path+"["+strconv.Itoa(i)+"]"); err != nil {
			return err
		}
	}
	into.Set(out)
	return nil
}

func entries(v *structpb.Value, into reflect.Value, path string) error {
	k, ok := v.GetKind().(*structpb.Value_StructValue)
	if !ok {
		return mismatch(v, path, "a mapping")
	}
	out := reflect.MakeMap(into.Type())
	for _, key := range slices.Sorted(maps.Keys(k.StructValue.GetFields())) {
		e := reflect.New(into.Type().Elem()).Elem()
		if err := value(k.StructValue.GetFields()[key], e, step(path, key)); err != nil {
			return err
		}
		out.SetMapIndex(reflect.ValueOf(key), e)
	}
	into.Set(out)
	return nil
}

func scalar(v *structpb.Value, into reflect.Value, path string) error {
	number, isNumber := v.GetKind().(*structpb.Value_NumberValue)
	switch into.Kind() {
	case reflect.Bool:
		k, ok := v.GetKind().(*structpb.Value_BoolValue)
		if !ok {
			return mismatch(v, path, "true or false")
		}
		into.SetBool(k.BoolValue)
	case reflect.String:
		k, ok := v.GetKind().(*structpb.Value_StringValue)
		if !ok {
			return mismatch(v, path, "text")
		}
		into.SetString(k.StringValue)
	case reflect.Float64:
		if !isNumber {
			return mismatch(v, path, "a number")
		}
		into.SetFloat(number.NumberValue)
	case reflect.Int64:
		// Beyond 2^53 a JSON number is not exact.
		if !isNumber || number.NumberValue != math.Trunc(number.NumberValue) || math.Abs(number.NumberValue) > 1<<53 {
			return mismatch(v, path, "a whole number")
		}
		into.SetInt(int64(number.NumberValue))
	case reflect.Uint32:
		if !isNumber || number.NumberValue != math.Trunc(number.NumberValue) || number.NumberValue < 0 || number.NumberValue > math.MaxUint32 {
			return mismatch(v, path, "a whole number from 0 to 4294967295")
		}
		into.SetUint(uint64(number.NumberValue))
	default:
		panic("BUG: a field of kind " + into.Kind().String())
	}
	return nil
}

func duration(v *structpb.Value, into reflect.Value, path string) error {
	k, ok := v.GetKind().(*structpb.Value_StringValue)
	if !ok {
		return mismatch(v, path, `a duration in seconds such as "0.25s"`)
	}
	d := &durationpb.Duration{}
	if err := protojson.Unmarshal([]byte(strconv.Quote(k.StringValue)), d); err != nil {
		return mismatch(v, path, `a duration in seconds such as "0.25s"`)
	}
	into.SetInt(int64(d.AsDuration()))
	return nil
}

func mismatch(v *structpb.Value, path, want string) error {
	found := "nothing"
	switch k := v.GetKind().(type) {
	case *structpb.Value_BoolValue:
		found = strconv.FormatBool(k.BoolValue)
	case *structpb.Value_NumberValue:
		found = strconv.FormatFloat(k.NumberValue, 'g', -1, 64)
	case *structpb.Value_StringValue:
		found = fmt.Sprintf("the text %.40q", k.StringValue)
	case *structpb.Value_ListValue:
		found = "a list"
	case *structpb.Value_StructValue:
		found = "a mapping"
	}
	return fmt.Errorf("%s: found %s, want %s", path, found, want)
}
