// SPDX-License-Identifier: Apache-2.0

package build

import (
	basicauthv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/basic_auth/v3"
	"google.golang.org/protobuf/types/known/anypb"
)

// Basic asks for names and passwords of routes that say whose; the name of who is let in
// goes into a header for backends unless that is empty.
func Basic(header string) *basicauthv3.BasicAuth {
	return &basicauthv3.BasicAuth{Users: inline("# Routes say who is let in.\n"), ForwardUsernameHeader: header}
}

// Users lets those in that lines of htpasswd(1) name.
func Users(lines string) *anypb.Any {
	return Any(&basicauthv3.BasicAuthPerRoute{Users: inline(lines)})
}
