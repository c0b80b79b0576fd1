// SPDX-License-Identifier: Apache-2.0

package safecrossscheme

import "weir.dev/weir/proxy/route"

func predicate(t *route.RedirectTarget) bool { return t.FromHTTPS || !t.ToHTTPS }
