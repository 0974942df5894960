//! A headless browser for login pages on loopback: it follows redirects, keeps cookies and fills in forms.
//!
//! It knows as much of HTML as login forms need: the first form of a page, its hidden fields, its text fields, its
//! buttons. It runs no scripts.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::form;
use crate::reply::Reply;

/// Redirects and forms that one visit takes at most. A login at a real provider takes eight.
const MOST_STEPS: usize = 30;

/// How long a page may take: a provider under load makes keys and codes meanwhile.
const PATIENCE: Duration = Duration::from_secs(30);

/// Somebody's browser. Its cookies last as long as it does.
#[derive(Clone, Debug)]
pub struct Browser {
    user: String,
    button: Option<String>,
    typed: BTreeMap<String, String>,
    cookies: Vec<Cookie>,
    visited: Vec<String>,
}

/// What a browser shows in the end.
#[derive(Clone, Debug)]
pub struct Page {
    /// Where it is.
    pub url: String,
    /// Its HTTP status.
    pub status: u16,
    /// Its header lines, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Its text, tags included.
    pub body: String,
}

#[derive(Clone, Debug)]
struct Cookie {
    host: String,
    path: String,
    name: String,
    value: String,
}

/// A URL's parts; only plain HTTP exists here.
#[derive(Clone, Debug)]
struct Location {
    host: String,
    target: String,
}

/// A form as it would be sent.
#[derive(Debug, Eq, PartialEq)]
struct Form {
    method: String,
    action: String,
    fields: Vec<(String, String)>,
}

impl Browser {
    /// Of somebody who logs in under this name, with any password.
    #[must_use]
    pub fn new(user: &str) -> Self {
        Self {
            user: user.to_owned(),
            button: None,
            typed: BTreeMap::new(),
            cookies: Vec::new(),
            visited: Vec::new(),
        }
    }

    /// Presses the button with this value where a form has one, in place of the first.
    #[must_use]
    pub fn press(mut self, value: &str) -> Self {
        self.button = Some(value.to_owned());
        self
    }

    /// Types this into every field of that name.
    #[must_use]
    pub fn typing(mut self, field: &str, text: &str) -> Self {
        self.typed.insert(field.to_owned(), text.to_owned());
        self
    }

    /// Opens a page, follows redirects and sends forms until a page asks for nothing.
    ///
    /// # Errors
    ///
    /// When a page does not answer, or there is no end of pages. A page that says an error is an answer.
    pub fn open(&mut self, url: &str) -> Result<Page> {
        let mut page = self.fetch("GET", url, None)?;
        for _ in 0..MOST_STEPS {
            let Some(filled) = self.filled(&page) else {
                return Ok(page);
            };
            let action = absolute(&page.url, &filled.action)?;
            let pairs = filled
                .fields
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()));
            let body = form::encode(pairs);
            page = if filled.method == "post" {
                self.fetch("POST", &action, Some(&body))?
            } else {
                let base = action.split('?').next().unwrap_or_default();
                self.fetch("GET", &format!("{base}?{body}"), None)?
            };
        }
        bail!("no end of forms: {:?}", self.visited)
    }

    /// Opens a page and follows redirects; forms stay as they are.
    ///
    /// # Errors
    ///
    /// As [`Browser::open`].
    pub fn look(&mut self, url: &str) -> Result<Page> {
        self.fetch("GET", url, None)
    }

    /// Every URL it has asked for, in order.
    #[must_use]
    pub fn visited(&self) -> &[String] {
        &self.visited
    }

    fn fetch(&mut self, method: &str, url: &str, body: Option<&str>) -> Result<Page> {
        let (mut method, mut body) = (method.to_owned(), body);
        let mut url = url.to_owned();
        for _ in 0..MOST_STEPS {
            let reply = self.request(&method, &url, body)?;
            self.visited.push(url.clone());
            match reply.header("location") {
                Some(next) if (300..400).contains(&reply.status) => {
                    url = absolute(&url, next)?;
                    method = "GET".to_owned();
                    body = None;
                }
                _ => {
                    return Ok(Page {
                        url,
                        status: reply.status,
                        body: reply.text(),
                        headers: reply.headers,
                    });
                }
            }
        }
        bail!("no end of redirects: {:?}", self.visited)
    }

    fn request(&mut self, method: &str, url: &str, body: Option<&str>) -> Result<Reply> {
        let location = Location::parse(url)?;
        let mut head = format!(
            "{method} {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: kedge-testkit\r\nAccept: text/html\r\nConnection: close\r\n",
            location.target, location.host
        );
        let path = location.path();
        let cookies: Vec<String> = self
            .cookies
            .iter()
            .filter(|cookie| cookie.host == location.host && path.starts_with(&cookie.path))
            .map(|cookie| format!("{}={}", cookie.name, cookie.value))
            .collect();
        if !cookies.is_empty() {
            head.push_str(&format!("Cookie: {}\r\n", cookies.join("; ")));
        }
        if let Some(body) = body {
            head.push_str(&format!(
                "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n",
                body.len()
            ));
        }
        head.push_str("\r\n");
        head.push_str(body.unwrap_or_default());
        let mut stream =
            TcpStream::connect(&location.host).with_context(|| format!("open {url}"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(head.as_bytes())?;
        let reply = Reply::read(&mut stream).with_context(|| format!("read {url}"))?;
        for (name, value) in &reply.headers {
            if name == "set-cookie" {
                self.keep(&location, value);
            }
        }
        Ok(reply)
    }

    fn keep(&mut self, location: &Location, header: &str) {
        let mut parts = header.split(';').map(str::trim);
        let Some((name, value)) = parts.next().and_then(|first| first.split_once('=')) else {
            return;
        };
        let path = parts
            .filter_map(|part| part.split_once('='))
            .find(|(key, _)| key.eq_ignore_ascii_case("path"))
            .map_or("/", |(_, path)| path);
        self.cookies.retain(|cookie| {
            !(cookie.host == location.host && cookie.path == path && cookie.name == name)
        });
        // Servers take a cookie back by emptying it.
        if !value.is_empty() {
            self.cookies.push(Cookie {
                host: location.host.clone(),
                path: path.to_owned(),
                name: name.to_owned(),
                value: value.to_owned(),
            });
        }
    }

    /// The first form of a page with everything filled in.
    fn filled(&self, page: &Page) -> Option<Form> {
        let start = page.body.find("<form")?;
        let whole = page.body.get(start..)?;
        let whole = whole.split("</form>").next()?;
        let (opening, inside) = whole.split_once('>')?;
        let attribute = |tag: &str, name: &str| attribute(tag, name);
        let mut fields = Vec::new();
        let mut buttons = Vec::new();
        for tag in inside.split('<').skip(1) {
            let tag = tag.split('>').next().unwrap_or_default();
            let is_input = tag.starts_with("input");
            let Some(name) = attribute(tag, "name") else {
                continue;
            };
            let value = attribute(tag, "value").unwrap_or_default();
            let kind = attribute(tag, "type").unwrap_or_else(|| "text".to_owned());
            if tag.starts_with("button") || (is_input && kind == "submit") {
                buttons.push((name, value));
            } else if is_input && kind != "checkbox" {
                let value = match (self.typed.get(&name), name.as_str(), kind.as_str()) {
                    (Some(typed), _, _) => typed.clone(),
                    (None, "login", _) => self.user.clone(),
                    (None, _, "password") => "any".to_owned(),
                    _ => value,
                };
                fields.push((name, value));
            }
        }
        let wanted = self.button.as_deref();
        let button = buttons
            .iter()
            .find(|(_, value)| Some(value.as_str()) == wanted)
            .or_else(|| buttons.first());
        fields.extend(button.cloned());
        Some(Form {
            method: attribute(opening, "method")
                .unwrap_or_else(|| "get".to_owned())
                .to_ascii_lowercase(),
            action: attribute(opening, "action").unwrap_or_default(),
            fields,
        })
    }
}

impl Page {
    /// The value of a parameter in the page's own URL.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<String> {
        let (_, query) = self.url.split_once('?')?;
        form::value(&form::decode(query), name).map(str::to_owned)
    }

    /// Requires a status below 400.
    ///
    /// # Errors
    ///
    /// With the page otherwise.
    pub fn success(self) -> Result<Self> {
        ensure!(
            self.status < 400,
            "{} says {}: {}",
            self.url,
            self.status,
            self.body
        );
        Ok(self)
    }
}

impl Location {
    fn parse(url: &str) -> Result<Self> {
        let rest = url
            .strip_prefix("http://")
            .with_context(|| format!("{url} is no plain HTTP"))?;
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (host, target) = rest.split_at(end);
        let target = if target.starts_with('/') {
            target.to_owned()
        } else {
            format!("/{target}")
        };
        let host = if host.contains(':') {
            host.to_owned()
        } else {
            format!("{host}:80")
        };
        Ok(Self { host, target })
    }

    fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

/// A link of a page as a URL of its own.
fn absolute(page: &str, link: &str) -> Result<String> {
    if link.contains("://") {
        return Ok(link.to_owned());
    }
    let location = Location::parse(page)?;
    if link.is_empty() {
        return Ok(page.to_owned());
    }
    if link.starts_with('/') {
        return Ok(format!("http://{}{link}", location.host));
    }
    let folder = location
        .path()
        .rsplit_once('/')
        .map_or("", |(folder, _)| folder);
    Ok(format!("http://{}{folder}/{link}", location.host))
}

/// An attribute of a tag, in double quotes.
fn attribute(tag: &str, name: &str) -> Option<String> {
    let wanted = format!(" {name}=\"");
    let tag = tag.replace(['\n', '\t'], " ");
    let (_, after) = tag.split_once(&wanted)?;
    let (value, _) = after.split_once('"')?;
    Some(
        value
            .replace("&quot;", "\"")
            .replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&#x27;", "'")
            .replace("&amp;", "&"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(body: &str) -> Page {
        Page {
            url: "http://127.0.0.1:1/folder/page?x=1".to_owned(),
            status: 200,
            headers: Vec::new(),
            body: body.to_owned(),
        }
    }

    #[test]
    fn a_form_is_filled_as_a_person_would() {
        let page = page(
            "<p>Hello</p><form autocomplete=\"off\" action=\"/interaction/1\" method=\"post\">\n\
             <input type=\"hidden\" name=\"prompt\" value=\"a&amp;b\"/>\
             <input required type=\"text\" name=\"login\" placeholder=\"Enter any login\">\
             <input type=\"password\" name=\"password\"><button type=\"submit\">Go</button>\
             <button type=\"submit\" name=\"decision\" value=\"allow\">A</button>\
             <button type=\"submit\" name=\"decision\" value=\"deny\">D</button></form><form></form>",
        );
        let pairs = |text: &str| form::decode(text);
        let filled = Browser::new("alice").filled(&page).unwrap();
        assert_eq!(
            (filled.method.as_str(), filled.action.as_str()),
            ("post", "/interaction/1")
        );
        assert_eq!(
            filled.fields,
            pairs("prompt=a%26b&login=alice&password=any&decision=allow")
        );
        let denying = Browser::new("alice").press("deny").filled(&page).unwrap();
        assert_eq!(denying.fields.last(), pairs("decision=deny").first());
        assert_eq!(
            Browser::new("alice").filled(&super::tests::page("no form")),
            None
        );
    }

    #[test]
    fn links_are_followed_from_where_they_stand() {
        let from = "http://127.0.0.1:1/folder/page?x=1";
        for (link, wanted) in [
            ("http://127.0.0.1:2/a", "http://127.0.0.1:2/a"),
            ("/b?c", "http://127.0.0.1:1/b?c"),
            ("d", "http://127.0.0.1:1/folder/d"),
            ("", from),
        ] {
            assert_eq!(absolute(from, link).unwrap(), wanted);
        }
        assert!(absolute("https://127.0.0.1", "/").is_err());
    }

    #[test]
    fn cookies_are_kept_by_path_and_taken_back() {
        let mut browser = Browser::new("alice");
        let location = Location::parse("http://127.0.0.1:1/").unwrap();
        browser.keep(&location, "a=1; path=/in; httponly");
        browser.keep(&location, "a=2; Path=/");
        browser.keep(
            &location,
            "a=; path=/in; expires=Thu, 01 Jan 1970 00:00:00 GMT",
        );
        let kept: Vec<(&str, &str)> = browser
            .cookies
            .iter()
            .map(|cookie| (cookie.path.as_str(), cookie.value.as_str()))
            .collect();
        assert_eq!(kept, [("/", "2")]);
    }
}
