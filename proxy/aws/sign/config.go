// SPDX-License-Identifier: Apache-2.0

package sign

import (
	"fmt"

	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"weir.dev/weir/proxy/match"
)

// Fields compiles match_included_headers and match_excluded_headers.
func (o *Options) Fields(included, excluded []*matcherv3.StringMatcher) (err error) {
	if o.Include, err = match.CompileStrings(included); err != nil {
		return fmt.Errorf("match_included_headers%w", err)
	}
	if o.Exclude, err = match.CompileStrings(excluded); err != nil {
		return fmt.Errorf("match_excluded_headers%w", err)
	}
	return nil
}
