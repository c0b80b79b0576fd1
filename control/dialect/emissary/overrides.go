// SPDX-License-Identifier: Apache-2.0

package emissary

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/anypb"

	emissaryv3 "weir.dev/weir/control/api/getambassador/v3alpha1"
	"weir.dev/weir/control/build"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// readOverrides reads the bodies of responses. As in Emissary, one that is wrong is left
// out, and its Mapping or Module is not.
func readOverrides(list []emissaryv3.ErrorResponseOverride, tell teller) []build.ErrorResponse {
	var out []build.ErrorResponse
	for i, o := range list {
		at, good := fmt.Sprintf("error_response_overrides[%d]", i), true
		wrong := func(field, format string, args ...any) {
			good = false
			tell(at+field, reasonInvalid, "it is left out: "+format, args...)
		}
		if o.OnStatusCode < 400 || o.OnStatusCode > 599 {
			wrong(".on_status_code", "%d is not a status from 400 to 599", o.OnStatusCode)
		}
		b := o.Body
		r := build.ErrorResponse{Status: o.OnStatusCode, ContentType: b.ContentType}
		formats := 0
		if b.TextFormat != nil {
			formats, r.Text = formats+1, *b.TextFormat
			checkBody(".body.text_format", r.Text, wrong)
		}
		if b.TextFormatSource != nil {
			formats, r.File = formats+1, b.TextFormatSource.Filename
			switch {
			case r.File == "":
				wrong(".body.text_format_source.filename", "is missing")
			case private(r.File):
				wrong(".body.text_format_source.filename", "%q is where systems keep what is not for clients, such as tokens: put the text elsewhere", r.File)
			}
		}
		if b.JSONFormat != nil {
			formats, r.JSON = formats+1, map[string]string{}
			for _, name := range slices.Sorted(maps.Keys(b.JSONFormat)) {
				r.JSON[name] = b.JSONFormat[name].String()
				checkBody(fmt.Sprintf(".body.json_format[%q]", name), r.JSON[name], wrong)
			}
		}
		if formats != 1 {
			wrong(".body", "has not exactly one of text_format, json_format and text_format_source")
		}
		if why := build.BadText(b.ContentType); why != "" {
			wrong(".body.content_type", "%q %s", b.ContentType, why)
		}
		if good {
			out = append(out, r)
		}
	}
	return out
}

// private reports whether a file of the proxy is where a pod finds its token, or the system tells of processes and
// devices: whoever may write a Mapping must not have that sent to himself.
func private(file string) bool {
	file = path.Clean("/" + file)
	return slices.ContainsFunc([]string{"/proc/", "/sys/", "/dev/", "/run/", "/var/run/"}, func(dir string) bool { return strings.HasPrefix(file+"/", dir) })
}

func checkBody(field, text string, wrong func(field, format string, args ...any)) {
	if why := build.BadFormat(text); why != "" {
		wrong(field, "the text %s", why)
	}
	if !utf8.ValidString(text) {
		wrong(field, "the text is not UTF-8")
	}
}

// overridesOf are the bodies of a Mapping's responses, in place of the Module's; nil is
// those.
func (i *install) overridesOf(m *mapping) *anypb.Any {
	switch {
	case !is(m.spec.BypassErrorResponseOverrides) && len(m.overrides) > 0:
		return build.Any(build.ErrorResponses(m.overrides))
	case is(m.spec.BypassErrorResponseOverrides) && len(i.overrides) > 0:
		return build.Any(build.ErrorResponses(nil))
	}
	return nil
}

// overridingIn says in which installs Mappings have bodies for responses.
func (d *Dialect) overridingIn(c *memo.Ctx, key source.Key) []memo.Pair[string, id] {
	var out []memo.Pair[string, id]
	d.each(c, key, func(install string, m *mapping) {
		if len(m.overrides) > 0 {
			out = append(out, memo.Pair[string, id]{Bucket: install, Member: m.id})
		}
	})
	return out
}

// override gives responses of a chain their bodies, if any has one.
func (d *Dialect) override(c *memo.Ctx, in *install, ch *graph.Chain) {
	if len(in.overrides) > 0 || len(d.overriding.Members(c, in.name)) > 0 {
		ch.Filters[build.ResponseMap] = build.ErrorResponses(in.overrides)
	}
}
