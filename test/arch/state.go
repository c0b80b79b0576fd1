// SPDX-License-Identifier: Apache-2.0

package arch

import (
	"fmt"
	"go/ast"
	"go/token"
	"path"
)

// checkState finds package-level variables that change. It does not know types: it looks for variables made
// to change (empty maps, channels, locks, pools, atomics) and for statements that assign to a variable, to
// one of its fields or elements. Tables that are written out and only read, sentinel errors and compiled
// patterns pass.
func checkState(t *Tree, bad func(Problem)) {
	for _, p := range t.Packages {
		if kit(p.Dir) {
			continue
		}
		vars := map[string]*ast.ValueSpec{}
		p.source(func(f *File) {
			for _, d := range f.ast.Decls {
				g, ok := d.(*ast.GenDecl)
				if !ok || g.Tok != token.VAR {
					continue
				}
				for _, s := range g.Specs {
					spec := s.(*ast.ValueSpec)
					for i, name := range spec.Names {
						if name.Name == "_" {
							continue
						}
						vars[name.Name] = spec
						var value ast.Expr
						if i < len(spec.Values) {
							value = spec.Values[i]
						}
						if why := changes(f, spec.Type, value); why != "" {
							bad(Problem{"state", f.Path, t.line(name), name.Name, fmt.Sprintf("package-level %s is %s", name.Name, why)})
						}
					}
				}
			}
		})
		p.source(func(f *File) {
			assigned(f, vars, func(id *ast.Ident) {
				bad(Problem{"state", f.Path, t.line(id), id.Name, fmt.Sprintf("changes package-level %s", id.Name)})
			})
		})
	}
}

// changes says why a variable with this type or value is made to change, or "".
func changes(f *File, typ, value ast.Expr) string {
	if why := mutable(f, typ); why != "" && value == nil {
		return why
	}
	switch v := value.(type) {
	case *ast.UnaryExpr:
		if lit, ok := v.X.(*ast.CompositeLit); ok && v.Op == token.AND {
			return synchronised(f, lit.Type)
		}
	case *ast.CompositeLit:
		if m, ok := v.Type.(*ast.MapType); ok && len(v.Elts) == 0 {
			return mutable(f, m)
		}
		return synchronised(f, v.Type)
	case *ast.CallExpr:
		if id, ok := v.Fun.(*ast.Ident); ok && len(v.Args) > 0 && (id.Name == "make" || id.Name == "new") {
			if _, slice := v.Args[0].(*ast.ArrayType); !slice {
				return "made empty, to be filled"
			}
		}
	}
	return ""
}

func mutable(f *File, typ ast.Expr) string {
	switch typ.(type) {
	case *ast.MapType:
		return "an empty map, to be filled"
	case *ast.ChanType:
		return "a channel"
	}
	return synchronised(f, typ)
}

// synchronised says that a type is of package sync or sync/atomic.
func synchronised(f *File, typ ast.Expr) string {
	if index, ok := typ.(*ast.IndexExpr); ok {
		typ = index.X // atomic.Pointer[T]
	}
	s, ok := typ.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	if pkg := f.named(s.X); pkg == "sync" || pkg == "sync/atomic" {
		return "a " + path.Base(pkg) + "." + s.Sel.Name
	}
	return ""
}

// assigned calls found for each statement of f that changes one of vars.
func assigned(f *File, vars map[string]*ast.ValueSpec, found func(*ast.Ident)) {
	check := func(e ast.Expr) {
		id := root(e)
		if id == nil || vars[id.Name] == nil {
			return
		}
		obj := id.Obj // Resolved within the file: nil or the declaration of a variable at package level.
		if obj == nil || obj.Decl == vars[id.Name] {
			found(id)
		}
	}
	for _, d := range f.ast.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Body == nil {
			continue
		}
		ast.Inspect(fn.Body, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.AssignStmt:
				if n.Tok != token.DEFINE {
					for _, e := range n.Lhs {
						check(e)
					}
				}
			case *ast.IncDecStmt:
				check(n.X)
			case *ast.CallExpr:
				if id, ok := n.Fun.(*ast.Ident); ok && len(n.Args) > 0 && (id.Name == "delete" || id.Name == "clear" || id.Name == "copy") {
					check(n.Args[0])
				}
			}
			return true
		})
	}
}

// root is the variable that an expression such as a.b[c].d begins with, or nil.
func root(e ast.Expr) *ast.Ident {
	for {
		switch x := e.(type) {
		case *ast.Ident:
			return x
		case *ast.SelectorExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.SliceExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		default:
			return nil
		}
	}
}
