//! `#[derive(Attributes)]`: maps a struct or enum to and from the attribute tree of `sinter-base`.
//!
//! Structs become records of their fields; variants without fields become bare words in snake case; variants with
//! named fields become records that carry the variant's name. A field marked `#[attributes(skip)]` is left out and
//! filled by `Default`: operator bodies travel beside the attributes, not inside them. A field marked
//! `#[attributes(default)]` came after plans were written: its `Default` stands for it where it is missing.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Field, Fields, Ident, parse_macro_input};

/// See the crate documentation.
#[proc_macro_derive(Attributes, attributes(attributes))]
pub fn derive_attributes(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}

fn expand(input: &DeriveInput) -> syn::Result<TokenStream> {
    // Inside `sinter-base` itself the crate is called `crate`.
    let base = if std::env::var("CARGO_PKG_NAME").as_deref() == Ok("sinter-base") {
        quote!(crate)
    } else {
        quote!(sinter_base)
    };
    let name = &input.ident;
    let (to, from, schema) = match &input.data {
        Data::Struct(data) => for_struct(&data.fields, &base)?,
        Data::Enum(data) => for_enum(name, data, &base)?,
        Data::Union(_) => return Err(syn::Error::new_spanned(name, "a union has no attribute tree")),
    };
    Ok(quote! {
        impl #base::attribute::Attribute for #name {
            fn to_attr(&self) -> #base::attribute::Attr {
                #to
            }

            fn from_attr(attr: &#base::attribute::Attr) -> Result<Self, #base::attribute::AttributeError> {
                #from
            }

            fn schema() -> String {
                #schema
            }
        }
    })
}

fn is_marked(field: &Field, mark: &str) -> bool {
    let has_mark = |a: &syn::Attribute| a.parse_args::<Ident>().is_ok_and(|argument| argument == mark);
    field.attrs.iter().any(|a| a.path().is_ident("attributes") && has_mark(a))
}

fn named(fields: &Fields) -> syn::Result<Vec<(&Ident, &Field)>> {
    match fields {
        Fields::Unit => Ok(Vec::new()),
        Fields::Named(fields) => {
            Ok(fields.named.iter().filter_map(|field| field.ident.as_ref().map(|ident| (ident, field))).collect())
        }
        Fields::Unnamed(_) => Err(syn::Error::new_spanned(fields, "attribute fields have names")),
    }
}

/// The pieces of code for one list of named fields.
struct Record {
    /// Builds the tree from values in scope.
    to: TokenStream,
    /// Opens a reader on `attr` and refuses unknown fields.
    open: TokenStream,
    /// `name: value` initialisers that use the reader.
    initialisers: TokenStream,
    /// Describes the fields.
    schema: TokenStream,
}

fn record(
    fields: &[(&Ident, &Field)],
    variant: &str,
    base: &TokenStream,
    access: impl Fn(&Ident) -> TokenStream,
) -> Record {
    let kept: Vec<_> = fields.iter().filter(|(_, f)| !is_marked(f, "skip")).collect();
    let texts: Vec<String> = kept.iter().map(|(ident, _)| ident.to_string()).collect();
    let values = kept.iter().map(|(ident, _)| access(ident));
    let types = kept.iter().map(|(_, field)| &field.ty);
    let initialisers = fields.iter().map(|(ident, field)| {
        let text = ident.to_string();
        if is_marked(field, "skip") {
            quote!(#ident: Default::default())
        } else if is_marked(field, "default") {
            quote!(#ident: reader.field_or_default(#text)?)
        } else {
            quote!(#ident: reader.field(#text)?)
        }
    });
    Record {
        to: quote! {
            #base::attribute::Attr::Record {
                variant: #variant.to_owned(),
                fields: vec![#((#texts.to_owned(), #base::attribute::Attribute::to_attr(#values))),*],
            }
        },
        open: quote! {
            let reader = #base::attribute::FieldReader::new(attr)?;
            reader.finish(&[#(#texts),*])?;
        },
        initialisers: quote!(#(#initialisers),*),
        schema: quote! {
            {
                let fields: Vec<String> =
                    vec![#(format!("{}: {}", #texts, <#types as #base::attribute::Attribute>::schema())),*];
                format!("{}{{{}}}", #variant, fields.join(", "))
            }
        },
    }
}

fn for_struct(fields: &Fields, base: &TokenStream) -> syn::Result<(TokenStream, TokenStream, TokenStream)> {
    let fields = named(fields)?;
    let Record { to, open, initialisers, schema } = record(&fields, "", base, |ident| quote!(&self.#ident));
    Ok((to, quote!(#open Ok(Self { #initialisers })), schema))
}

fn for_enum(
    name: &Ident,
    data: &syn::DataEnum,
    base: &TokenStream,
) -> syn::Result<(TokenStream, TokenStream, TokenStream)> {
    let (mut to_arms, mut from_arms, mut schemas) = (Vec::new(), Vec::new(), Vec::new());
    for variant in &data.variants {
        let ident = &variant.ident;
        let text = snake_case(&ident.to_string());
        let fields = named(&variant.fields)?;
        if fields.is_empty() {
            to_arms.push(quote!(Self::#ident => #base::attribute::Attr::Name(#text.to_owned())));
            from_arms.push(quote!(#base::attribute::Attr::Name(name) if name == #text => Ok(Self::#ident)));
            schemas.push(quote!(#text.to_owned()));
            continue;
        }
        let Record { to, open, initialisers, schema } = record(&fields, &text, base, |ident| quote!(#ident));
        let bound = fields.iter().map(|(ident, _)| *ident);
        to_arms.push(quote!(Self::#ident { #(#bound),* } => #to));
        from_arms.push(quote! {
            #base::attribute::Attr::Record { variant, .. } if variant == #text => {
                #open
                Ok(Self::#ident { #initialisers })
            }
        });
        schemas.push(schema);
    }
    let expected = format!("one of {name}");
    Ok((
        quote!(match self { #(#to_arms),* }),
        quote! {
            match attr {
                #(#from_arms,)*
                other => Err(#base::attribute::AttributeError::expected(#expected, other)),
            }
        },
        quote! {
            {
                let variants: Vec<String> = vec![#(#schemas),*];
                variants.join(" | ")
            }
        },
    ))
}

/// `SameUpper` becomes `same_upper`; a run of capitals or digits stays together.
fn snake_case(name: &str) -> String {
    let mut text = String::new();
    let mut previous_lower = false;
    for c in name.chars() {
        if c.is_uppercase() && previous_lower {
            text.push('_');
        }
        previous_lower = c.is_lowercase() || c.is_ascii_digit();
        text.extend(c.to_lowercase());
    }
    text
}
