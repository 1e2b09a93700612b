import KintsugiCommand

@main
struct Kintsugi {
    static func main() async { await KintsugiCommand.start() }
}
