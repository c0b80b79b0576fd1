// SPDX-License-Identifier: Apache-2.0

package build

import (
	xdstypev3 "github.com/cncf/xds/go/xds/type/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"weir.dev/weir/xds/typedstruct"
)

// ResponseMap is the filter that gives responses another body: Weir's own, for none of
// Envoy's keeps their headers.
const (
	ResponseMap     = "weir.filters.http.response_map"
	responseMapType = "weir.dev.filters.http.ResponseMap"
)

// An ErrorResponse is another body for responses with a status: Text, or what File has,
// or JSON, which are members of an object.
type ErrorResponse struct {
	Status                  int
	Text, File, ContentType string
	JSON                    map[string]string
}

// ErrorResponses gives responses another body, by a filter or, in its place, by a route;
// none leaves them as they are.
func ErrorResponses(list []ErrorResponse) *xdstypev3.TypedStruct {
	var all []any
	for _, r := range list {
		one := map[string]any{"status": r.Status}
		for field, text := range map[string]string{"text_format": r.Text, "text_format_file": r.File, "content_type": r.ContentType} {
			if text != "" {
				one[field] = text
			}
		}
		if r.JSON != nil {
			members := map[string]any{}
			for name, value := range r.JSON {
				members[name] = value
			}
			one["json_format"] = members
		}
		all = append(all, one)
	}
	s := typedstruct.New(responseMapType)
	if len(all) == 0 {
		return s
	}
	value, err := structpb.NewStruct(map[string]any{"responses": all})
	if err != nil {
		panic("BUG: texts cannot be written as JSON: " + err.Error())
	}
	s.Value = value
	return s
}
