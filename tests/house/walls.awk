# Reads sources (paths relative to the root) and prints every broken wall as FILE:LINE: what.
# Variables: table = rooms.txt, headers = names in include/superclip, one a line.

function fail(what) { printf "%s:%d: %s\n", FILENAME, FNR, what; broken = 1 }

# src/data/row.c -> data; src/backend/cpu/x.c -> backend/cpu; include/superclip/nn.h -> nn;
# tools/x.c -> tools
function room_of(path,    part, n, name) {
    n = split(path, part, "/")
    if (part[1] == "tools")
        return "tools"
    if (part[1] == "include") {
        name = part[n]
        sub(/\.[a-z]+$/, "", name)
        return name == "ops" ? "backend" : name
    }
    if (part[2] == "backend")
        return n > 3 ? "backend/" part[3] : "backend/?"
    return n > 2 ? part[2] : "?"
}

# The folder a private header has to lie in.
function home_of(path, room) { return room == "tools" ? "tools/" : "src/" room "/" }

# a/b/../c -> a/c
function normal(path,    part, n, i, kept, m, out) {
    n = split(path, part, "/")
    m = 0
    for (i = 1; i <= n; i++)
        if (part[i] == "..")
            m--
        else if (part[i] != "." && part[i] != "")
            kept[++m] = part[i]
    out = kept[1]
    for (i = 2; i <= m; i++)
        out = out "/" kept[i]
    return out
}

function check_public(header,    name) {
    name = header
    sub(/^superclip\//, "", name)
    if (!(name in exists)) {
        fail("no header include/" header)
        return
    }
    sub(/\.[a-z]+$/, "", name)
    if (name == "ops")
        name = "backend"
    if (name != room && room != "tools" && !((room, name) in may) && !((room, "*") in may))
        fail("room " room " may not include " header " (tests/house/rooms.txt)")
}

function check_private(header,    folder, target) {
    folder = FILENAME
    sub(/[^\/]*$/, "", folder)
    target = normal(folder header)
    if (target ~ /^include\/superclip\//)
        fail("write \"superclip/...\", not a path into include")
    else if (index(target, home_of(FILENAME, room)) != 1)
        fail("private header \"" header "\" is not of room " room)
}

function check_system(header,    i) {
    for (i = 1; i <= vendors; i++)
        if (header ~ vendor_pattern[i]) {
            if (!((i, room) in vendor_home))
                fail("<" header "> has its only home in " vendor_homes[i] ", not in " room)
            return
        }
    if (header ~ /^superclip\//)
        fail("write \"" header "\", in quotes")
    else if (!(header in system_header))
        fail("<" header "> is neither libc nor a library with a home (tests/house/rooms.txt)")
}

function check_include(line,    header) {
    if (match(line, /"[^"]*"/)) {
        header = substr(line, RSTART + 1, RLENGTH - 2)
        if (header ~ /^superclip\//)
            check_public(header)
        else
            check_private(header)
    } else if (match(line, /<[^>]*>/))
        check_system(substr(line, RSTART + 1, RLENGTH - 2))
    else
        fail("an #include that names no file")
}

# The line without comments and without the contents of strings; in_comment goes over lines.
function code_of(line,    out, i, c, two, quote) {
    out = ""
    quote = ""
    for (i = 1; i <= length(line); i++) {
        c = substr(line, i, 1)
        two = substr(line, i, 2)
        if (in_comment) {
            if (two == "*/") {
                in_comment = 0
                i++
            }
        } else if (quote != "") {
            if (c == "\\")
                i++
            else if (c == quote)
                quote = ""
        } else if (two == "/*") {
            in_comment = 1
            i++
        } else if (two == "//")
            break
        else {
            if (c == "\"" || c == "'")
                quote = c
            out = out c
        }
    }
    return out
}

# A call of a function that ends the process, not a member called like it.
function check_ends(code) {
    if (room != "app" && room != "tools" && room != "comm" &&
        code ~ /(^|[^A-Za-z0-9_.>])(exit|_exit|_Exit|quick_exit|abort)[ \t]*\(/)
        fail("only app, the mains of tools and comm's abort may end the process")
    if (room != "comm" && code ~ /(^|[^A-Za-z0-9_])MPI_Abort([^A-Za-z0-9_]|$)/)
        fail("MPI_Abort belongs to comm")
}

BEGIN {
    while ((getline line < table) > 0) {
        sub(/#.*/, "", line)
        n = split(line, word, /[ \t]+/)
        if (word[1] == "room") {
            known[word[2]] = 1
            for (i = 3; i <= n; i++)
                may[word[2], word[i]] = 1
        } else if (word[1] == "vendor") {
            vendor_pattern[++vendors] = word[2]
            vendor_homes[vendors] = word[3]
            for (i = 3; i <= n; i++)
                vendor_home[vendors, word[i]] = 1
        } else if (word[1] == "system")
            for (i = 2; i <= n; i++)
                system_header[word[i]] = 1
    }
    while ((getline line < headers) > 0)
        exists[line] = 1
}

FNR == 1 {
    room = room_of(FILENAME)
    in_comment = 0
    if (!(room in known))
        fail("room " room " is not in tests/house/rooms.txt")
}

{
    was_comment = in_comment
    code = code_of($0)
    if (!was_comment && $0 ~ /^[ \t]*#[ \t]*include/)
        check_include($0)
    else
        check_ends(code)
}

END { exit broken }
