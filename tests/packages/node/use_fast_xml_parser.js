// fast-xml-parser: XML to objects and back: attributes, arrays, CDATA, entities, order, validation.
const { XMLBuilder, XMLParser, XMLValidator } = require('fast-xml-parser');

const text = `<?xml version="1.0"?><!-- c --><!DOCTYPE t [<!ENTITY me "myself">]>
<t:tools xmlns:t="http://x.example" kind="all &amp; more"><tool id="01"><name>awk</name><size>12.50</size><hex>0x1F</hex></tool>
<tool id="2"><name>s&#233;d &me; &lt;</name><note>one<![CDATA[ <two> ]]>three</note><empty/><flag>true</flag><big>12345678901234567890</big></tool></t:tools>`;
for (const options of [{}, { ignoreAttributes: false, attributeNamePrefix: '@', removeNSPrefix: true, htmlEntities: true, cdataPropName: '#cdata' }, { ignoreAttributes: false, parseTagValue: false, parseAttributeValue: true, isArray: name => name === 'name', tagValueProcessor: (name, value) => (name === 'size' ? `<${value}>` : value) }]) {
  console.log(JSON.stringify(new XMLParser(options).parse(text)));
}
const ordered = new XMLParser({ preserveOrder: true, commentPropName: '#comment', ignoreAttributes: false, trimValues: false });
const mixed = '<p a="1">text <b>bold</b> more<!-- note --><br/> end</p>';
const tree = ordered.parse(mixed);
console.log(JSON.stringify(tree), new XMLBuilder({ preserveOrder: true, commentPropName: '#comment', ignoreAttributes: false, suppressEmptyNode: true }).build(tree) === mixed);
console.log(new XMLBuilder({ format: true, indentBy: ' ', ignoreAttributes: false, attributeNamePrefix: '@', suppressBooleanAttributes: true, arrayNodeName: 'row' }).build({ root: { '@id': 5, '@on': 'true', item: ['a', 'b<&>"', { deep: null }], n: 1.5, '#text': 't' } }));
console.log(new XMLParser({ stopNodes: ['a.script'], unpairedTags: ['br'] }).parse('<a><script><b>raw</c></script><br>x</a>'));
for (const bad of ['<a><b></a>', '<a b=1/>', '<a></a><b/>', '<a>&x</a', '<1/>', '<a x="1" x="2"/>', '<ok/>']) console.log(bad, JSON.stringify(XMLValidator.validate(bad)));
